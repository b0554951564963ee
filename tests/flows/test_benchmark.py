import dataclasses
import inspect

from flows.benchmark import benchmark
from flows.trial import trial
from tasks.domain.sweep import Sweep


def test_the_form_offers_every_field_of_the_sweep_with_its_default() -> None:
    parameters = dict(inspect.signature(benchmark.fn).parameters)
    assert parameters.pop("run_name").default is None
    sweep = Sweep()
    assert {name: p.default for name, p in parameters.items()} == {
        field.name: getattr(sweep, field.name) for field in dataclasses.fields(Sweep)
    }


def test_the_form_explains_every_parameter_and_bounds_it() -> None:
    properties = benchmark.parameters.properties
    for name, schema in properties.items():
        assert schema.get("description"), f"{name} is not described"
    assert properties["num_epochs"]["minimum"] == 1
    assert properties["strategies"]["minItems"] == 1
    assert properties["learning_rate"]["exclusiveMaximum"] == 1


def test_flows_have_the_names_that_deployments_use() -> None:
    assert (benchmark.name, trial.name) == ("benchmark", "trial")
