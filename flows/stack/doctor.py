"""What is wrong with the stack and with this machine, and how it is mended."""

import fcntl
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import metadata
from pathlib import Path
from zoneinfo import ZoneInfo

import prefect
import psutil
from packaging.requirements import Requirement
from packaging.version import Version
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound

from flows import control, hosts, locations
from flows.hosts import rank_queue
from flows.names import TAG
from flows.stack import automations, deployments, notifications, processes, queues, server, state, workers
from flows.stack.pools import Pools, ensure_limits, limits
from flows.stack.runs import GOING_ON
from flows.stack.server import API_ERRORS
from flows.stack.state import State
from flows.stack.terminal import say
from tasks.data.cache import is_intact
from tasks.data.preparation import examine
from tasks.domain.dataset import NamedDataset
from tasks.domain.refusal import Refusal
from tasks.training.launcher import FOLDER, OWNER
from tasks.training.processes import WORKER

MAX_CLOCK_SECONDS = 5.0
MAX_PENDING_SECONDS = 120.0
MAX_FOLDER_SECONDS = 3600.0
MIN_FREE_GB = 2.0
MAX_NAMED = 5
PINS = deployments.CHECKOUT / "requirements"

Faults = Iterator[str]
"""Of each fault what is wrong, and the way out."""


def doctor() -> bool:
    """Say of every check whether it holds, and how each fault is mended; whether all is well."""
    found = state.read()
    if found is None:
        are_well = [_say("stack", [f"nothing is running in {locations.root()}; start it: `stratbench up`"])]
    elif (failure := found.server.failure()) is not None:
        way_out = "start it again: `stratbench up`" if found.server.is_ours else "start it, or `stratbench down`"
        fault = f"{found.server.api_url} does not answer ({type(failure).__name__}: {failure}); {way_out}"
        are_well = [_say("server", [fault])]
    else:
        with found.server.connected() as client:
            are_well = [_say(what, check(client, found)) for what, check in OF_THE_STACK]
    are_well += [_say(what, check()) for what, check in OF_THE_MACHINE]
    return all(are_well)


def _say(what: str, faults: Iterable[str]) -> bool:
    for fault in (found := list(_caught(faults))):
        say(f"FAULT {what}: {fault}")
    if not found:
        say(f"ok    {what}")
    return not found


def _caught(faults: Iterable[str]) -> Faults:
    try:
        yield from faults
    except Refusal as refusal:
        yield str(refusal)
    except (*API_ERRORS, OSError) as error:
        yield f"cannot be checked ({type(error).__name__}: {error}); mend that first"


def _check_server(client: SyncPrefectClient, _: State) -> Faults:
    there, here = Version(client.api_version()), Version(prefect.__version__)
    if there < here or there.major != here.major:
        yield f"it runs Prefect {there}, this environment has {here}; start it again with {here}"
    if date := client.hello().headers.get("date"):
        seconds = abs((parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds())
        if seconds > MAX_CLOCK_SECONDS:
            yield f"its clock and this machine's are {seconds:.0f} s apart; synchronise both"


def _check_pools(client: SyncPrefectClient, found: State) -> Faults:
    for spec in found.specs:
        try:
            spec.refuse(client.read_work_pool(spec.pool))
        except ObjectNotFound:
            yield f"{spec.pool!r} is missing; create it: `stratbench up`"
        except Refusal as refusal:
            yield str(refusal)


def _check_workers(client: SyncPrefectClient, found: State) -> Faults:
    alive = processes.parts()
    for spec in found.specs:
        with suppress(ObjectNotFound):  # its pool is missing, which another check says
            if fault := workers.fault(client, found, spec, spec.part in alive):
                yield f"{spec.worker}: {fault}"


def _check_hosts(client: SyncPrefectClient, found: State) -> Faults:
    there = {queue.name: queue for queue in queues.read_all(client, found.pools.trial)}
    release, beating = _installed("stratbench"), client.read_workers_for_work_pool(found.pools.trial)
    if found.host not in there:
        yield f"the work queue {found.host!r} of this host is missing; create it: `stratbench up`"
    for queue, entry in hosts.known(there.values()):
        if entry.left_at is not None:
            continue
        yield from queues.faults(found.pools.trial, entry, there)
        if hosts.is_online(queue, entry, beating) and entry.host.release != release:
            yield f"host {queue.name} runs stratbench {entry.host.release}, here {release}: install the same"


def _check_limits(client: SyncPrefectClient, found: State) -> Faults:
    taken = []
    for name in limits(found.host):
        try:
            if client.read_global_concurrency_limit_by_name(name).active_slots:
                taken.append(name)
        except ObjectNotFound:
            yield f"{name!r} is missing; create it: `stratbench up`"
            return
    ensure_limits(client, found.host)  # both are there: this only refuses
    if taken and not _read_runs(client, GOING_ON):
        for name in taken:
            yield (
                f"a slot of {name!r} is taken while no flow run of ours goes on; its lease frees it within 2 minutes, "
                f"or free it: `prefect gcl update {shlex.quote(name)} --active-slots 0`"
            )


def _check_automations(client: SyncPrefectClient, found: State) -> Faults:
    for wanted, there in automations.differing(client, found.server.ui_url()):
        yield f"{wanted.name!r} {'differs' if there else 'is missing'}; `stratbench up` mends it"
    if notifications.receiver(client) is None:
        say(f"      {notifications.NOBODY}")
    elif automations.superfluous(client):
        say(f"      {notifications.SETTING} is not set here: `stratbench up` would end the notifications")


def _check_deployments(client: SyncPrefectClient, found: State) -> Faults:
    declaration = deployments.load(found.pools)
    if missing := declaration.by_name.keys() - deployments.find(client, declaration).keys():
        yield f"{', '.join(sorted(missing))} missing; register them: `stratbench up`"
    elif not found.is_host_only and found.deployed != declaration.digest:
        yield "they are older than prefect.yaml or the code; register them anew: `stratbench up`"


def _check_flow_runs(client: SyncPrefectClient, found: State) -> Faults:
    begun, alive = _read_runs(client, (*GOING_ON, StateType.PENDING)), processes.flow_runs()
    elsewhere = {entry.host.name for _, entry in hosts.known(queues.read_all(client, found.pools.trial))} - {found.host}
    elsewhere |= {rank_queue(name) for name in elsewhere}
    for run in begun:
        cancel = f"`prefect flow-run cancel {run.id}`"
        if run.state_type == StateType.PENDING:
            seconds = (datetime.now(UTC) - run.state.timestamp).total_seconds() if run.state else 0.0
            if seconds > MAX_PENDING_SECONDS:
                yield f"{run.name} has been Pending for {seconds:.0f} s; cancel it: {cancel}"
        elif not found.server.is_ours or run.id in alive or run.work_queue_name in elsewhere:
            continue
        elif client.read_flow_run(run.id).state_type in GOING_ON:
            yield (
                f"{run.name} is {run.state_name}, but no process of it lives here; an automation ends it within 2 "
                f"minutes, or cancel it: {cancel}"
            )


def _read_runs(client: SyncPrefectClient, types: Iterable[StateType]) -> list[FlowRun]:
    where = {"state": {"type": {"any_": list(types)}}, "tags": {"all_": [TAG]}}
    return client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(where))


def _check_processes() -> Faults:
    found, alive, left, orphans = state.read(), processes.parts(), [], []
    known = (server.NAME, *(spec.part for spec in found.specs)) if found else ()
    parts = {alive[name] for name in known if name in alive}
    for process in processes.marked():
        with suppress(psutil.Error):
            if process not in parts and parts.isdisjoint(process.parents()):
                left.append(process.pid)
    if left:
        yield f"the processes {_list(left)} belong to no living part of the stack; `stratbench down` ends them"
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if WORKER in process.cmdline() and (process.ppid() <= 1 or process.parent().name() == "systemd"):
                orphans.append(process.pid)
    if orphans:
        pids = " ".join(map(str, orphans))
        yield f"the processes {_list(orphans)} train for a process that is gone; end them: `kill -9 {pids}`"


def _check_folders() -> Faults:
    left = []
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        with suppress(FileNotFoundError):  # its trial has ended in the meantime
            if _is_left(folder) and time.time() - folder.stat().st_mtime > MAX_FOLDER_SECONDS:
                left.append(str(folder))
    if left:
        yield f"{len(left)} left by trials that are gone; delete them: `{shlex.join(('rm', '-r', *left))}`"


def _is_left(folder: Path) -> bool:
    """Whether no living process holds that folder of a trial."""
    try:
        with (folder / OWNER).open() as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _check_disk() -> Faults:
    for folder, setting in ((locations.root(), "STRATBENCH_ROOT"), (Path(tempfile.gettempdir()), "TMPDIR")):
        free = shutil.disk_usage(folder).free / 1e9
        if free < MIN_FREE_GB:
            yield f"{folder} has {free:.1f} GB free, {MIN_FREE_GB:g} are needed; free some, or set {setting}"


def _check_versions() -> Faults:
    pins, differing = PINS / ("cpu.txt" if _installed("tensorflow-cpu") else "gpu.txt"), []
    for line in pins.read_text().splitlines():
        if line[:1].isalnum():
            pin = Requirement(line.removesuffix("\\"))
            version = _installed(pin.name) if pin.marker is None or pin.marker.evaluate() else None
            if version and not pin.specifier.contains(version, prereleases=True):
                differing.append(f"{pin.name} {version} ({pin.specifier})")
    if differing:
        command = f"`python -m pip install --no-deps --require-hashes -r {shlex.quote(str(pins))}`"
        yield f"not as pinned: {_list(differing)}; install the pins: {command}"


def _installed(name: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(name)
    return None


def _check_data() -> Faults:
    cache = locations.data_cache()
    for folder in sorted(cache.glob("[!.]*")):
        if not is_intact(folder):
            yield f"{folder} is damaged; delete it, the next run prepares it anew: `rm -r {shlex.quote(str(folder))}`"
    examine(NamedDataset.MNIST, cache)


def _check_control() -> Faults:
    if name := control.current():
        control.interpreter(name)
    yield from ()


def _check_time_zone() -> Faults:
    now = datetime.now().astimezone()
    named = {"TZ": os.environ["TZ"].removeprefix(":")} if "TZ" in os.environ else {}
    for name, deployment in deployments.load(Pools()).by_name.items():
        zones = [schedule.get("timezone", "UTC") for schedule in deployment.get("schedules", ())]
        named |= {f"the schedule of {name}": zone for zone in zones}
    for whose, zone in named.items():
        try:
            if not Path("/", zone).is_file() and ZoneInfo(zone).utcoffset(now) != now.utcoffset():
                say(f"      {whose} counts in {zone}, this machine in {now.tzname()}")
        except (ValueError, LookupError, OSError):
            yield f"{whose} names the zone {zone!r}, which is not known here; name one like Europe/Berlin"


def _list(things: Sequence[object]) -> str:
    rest = len(things) - MAX_NAMED
    return ", ".join(map(str, things[:MAX_NAMED])) + (f" and {rest} more" if rest > 0 else "")


OF_THE_STACK: tuple[tuple[str, Callable[[SyncPrefectClient, State], Faults]], ...] = (
    ("server", _check_server),
    ("work pools", _check_pools),
    ("hosts", _check_hosts),
    ("workers", _check_workers),
    ("concurrency limits", _check_limits),
    ("automations", _check_automations),
    ("deployments", _check_deployments),
    ("flow runs", _check_flow_runs),
)
OF_THE_MACHINE: tuple[tuple[str, Callable[[], Faults]], ...] = (
    ("processes", _check_processes),
    ("temporary folders", _check_folders),
    ("disk", _check_disk),
    ("installed versions", _check_versions),
    ("data", _check_data),
    ("control", _check_control),
    ("time zone", _check_time_zone),
)
