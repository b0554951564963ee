"""Options of a sweep, on the command line."""

import argparse
from enum import StrEnum
from pathlib import Path

from flows import locations
from tasks.domain.device import DeviceType
from tasks.domain.loop import Loop
from tasks.domain.model import Model
from tasks.domain.precision import Precision
from tasks.domain.reduction import Reduction
from tasks.domain.strategy import Strategy
from tasks.domain.sweep import Sweep, parse_choice

DEFAULTS = Sweep()


class Switch(StrEnum):
    """Off or on, as an option names it."""

    OFF = "off"
    ON = "on"


def add_sweep(run: argparse.ArgumentParser) -> None:
    """Let `run` take them."""
    d = DEFAULTS
    run.add_argument("--strategy", nargs="+", action="extend", help=f"of {', '.join(Strategy)} (default: all)")
    run.add_argument("--batch-size", nargs="+", type=int, action="extend", help="global (default: 64 128 256)")
    run.add_argument("--epochs", type=int, default=d.num_epochs, help="default: %(default)s")
    run.add_argument("--blocks", type=int, default=None, help="exactly so many: both of the next two")
    run.add_argument("--min-blocks", type=int, default=d.min_blocks, help="passes over the grid (default: %(default)s)")
    run.add_argument("--max-blocks", type=int, default=d.max_blocks, help="most of them (default: %(default)s)")
    run.add_argument("--half-width", type=float, default=d.half_width, help="wanted of the widest pair (default: .05)")
    run.add_argument("--whole-blocks", type=int, default=d.num_whole_blocks, help="train all epochs; 0: all blocks do")
    run.add_argument("--short-epochs", type=int, default=d.short_epochs, help="of the other blocks")
    run.add_argument("--budget-minutes", type=float, default=None, help="begin no block that would end later")
    run.add_argument("--replicas", type=int, default=d.num_replicas, help="devices of distributed strategies")
    run.add_argument("--device", default=None, help=f"of {', '.join(DeviceType)} (default: what the machine has)")
    run.add_argument("--cores-per-replica", type=int, default=d.cores_per_replica, help="width of a CPU slice")
    run.add_argument("--dataset", default=d.dataset, help="mnist, fashion_mnist, an IDX folder or an .npz file")
    run.add_argument("--max-train-examples", type=int, default=None, help="train on the first so many only")
    run.add_argument("--model", default=d.model, help=f"of {', '.join(Model)}")
    run.add_argument("--loop", nargs="+", action="extend", help=f"of {', '.join(Loop)} (default: fused)")
    run.add_argument("--precision", nargs="+", action="extend", help=f"of {', '.join(Precision)} (default: float32)")
    run.add_argument("--xla", nargs="+", action="extend", help="of off, on: compile by XLA (default: off)")
    run.add_argument("--reduction", nargs="+", action="extend", help=f"of {', '.join(Reduction)} (default: auto)")
    run.add_argument("--steps-per-call", nargs="+", type=int, action="extend", help="default: 32 if fused, else 1")
    run.add_argument("--skip-unsupported", action="store_true", help="leave out what cannot work, do not refuse it")
    run.add_argument("--tf32", action="store_true", help="TensorFloat-32 in float32 products (GPUs)")
    run.add_argument("--learning-rate", type=float, default=d.learning_rate, help="default: %(default)s")
    run.add_argument("--target-accuracy", type=float, default=d.target_accuracy, help="default: %(default)s")
    run.add_argument("--seed", type=int, default=d.seed, help="default: %(default)s")
    run.add_argument("--trial-timeout", type=float, default=d.trial_timeout_seconds, help="seconds a trial may take")
    run.add_argument("--run-name", default=None, help="default: <command>-<date>-<time>")
    run.add_argument("--output", type=Path, default=None, help="folder of the report, with the run's results inside")
    run.add_argument("--resume", action="store_true", help="continue the run of that name or folder")


def read_sweep(arguments: argparse.Namespace, versus: str | None = None) -> Sweep:
    """The sweep that was asked for; raises Refusal for an unknown choice and for what cannot be measured."""
    d, device = DEFAULTS, arguments.device
    return Sweep(
        strategies=tuple(parse_choice(Strategy, text, "strategy") for text in arguments.strategy or d.strategies),
        global_batch_sizes=tuple(arguments.batch_size or d.global_batch_sizes),
        num_epochs=arguments.epochs,
        min_blocks=arguments.min_blocks if arguments.blocks is None else arguments.blocks,
        max_blocks=arguments.max_blocks if arguments.blocks is None else arguments.blocks,
        half_width=arguments.half_width,
        num_whole_blocks=arguments.whole_blocks or None,
        short_epochs=arguments.short_epochs,
        budget_minutes=arguments.budget_minutes,
        versus=versus,
        num_replicas=arguments.replicas,
        device=None if device is None else parse_choice(DeviceType, device, "device"),
        cores_per_replica=arguments.cores_per_replica,
        dataset=locations.dataset(arguments.dataset),
        max_train_examples=arguments.max_train_examples,
        model=parse_choice(Model, arguments.model, "model"),
        loops=tuple(parse_choice(Loop, text, "loop") for text in arguments.loop or d.loops),
        precisions=tuple(parse_choice(Precision, text, "precision") for text in arguments.precision or d.precisions),
        xla=tuple(parse_choice(Switch, text, "xla") is Switch.ON for text in arguments.xla or (Switch.OFF,)),
        reductions=tuple(parse_choice(Reduction, text, "reduction") for text in arguments.reduction or d.reductions),
        steps_per_call=tuple(arguments.steps_per_call) if arguments.steps_per_call else None,
        skip_unsupported=arguments.skip_unsupported,
        is_tf32_enabled=arguments.tf32,
        learning_rate=arguments.learning_rate,
        target_accuracy=arguments.target_accuracy,
        seed=arguments.seed,
        trial_timeout_seconds=arguments.trial_timeout,
    )
