"""What docs/security.md promises of the code, read off the syntax trees or tried with hostile input."""

import ast
import asyncio
import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from markdown_it import MarkdownIt
from prefect.client.schemas.objects import StateType

from flows.gang import rank
from flows.meeting import Meeting
from flows.trial import trial
from tasks.analysis.analysis import Analysis, analyze
from tasks.domain.strategy import Strategy
from tasks.reporting.html import FOLD, render
from tasks.reporting.markdown import Edition
from tasks.reporting.report import compose
from tasks.results.run import End
from tests.analysis.example_runs import ENVIRONMENT, make_failure, make_run, plan, read_records, realistic, record_of
from tests.examples import make_trial
from tests.reporting.reports import pair, tables_of
from tests.reporting.test_html import Page
from tests.test_architecture import MODULES, name_of, top

UNPICKLERS = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "pty.spawn"}
STARTERS = {"create_subprocess_shell", "subprocess_shell"}
each_module = pytest.mark.parametrize("path", MODULES, ids=name_of)

HOSTILE = (
    "a|b\n\n# h\r\n- i\n```\n<script>alert(1)<img src=x onerror=y> [l](javascript:alert(1)) ![i](//host) `c` **d** $e$ "
    "&lt;f&gt; <!-- <details>"
)


def calls(path: Path) -> Iterator[tuple[str, dict[str | None, ast.expr]]]:
    """Every call: what is called, as written, and its arguments by keyword."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {keyword.arg: keyword.value for keyword in node.keywords}


@each_module
def test_nothing_is_unpickled(path: Path) -> None:
    assert not top(path) & UNPICKLERS
    for name, arguments in calls(path):
        if name in ("np.load", "numpy.load"):
            assert ast.unparse(arguments["allow_pickle"]) == "False"
        assert name not in ("pd.read_pickle", "yaml.load", "yaml.unsafe_load", "eval", "exec")


@pytest.mark.parametrize("path", [path for path in MODULES if "prefect" in top(path)], ids=name_of)
def test_no_result_is_persisted(path: Path) -> None:
    """Prefect would pickle it."""
    for name, arguments in calls(path):
        if name in ("flow", "task"):
            assert ast.unparse(arguments["persist_result"]) == "False"


@each_module
def test_no_text_reaches_a_shell(path: Path) -> None:
    for name, arguments in calls(path):
        assert name not in SHELLS
        assert name.rpartition(".")[2] not in STARTERS
        assert "shell" not in arguments
        assert None not in arguments or not name.startswith("subprocess."), "a mapping may hide a shell"


@pytest.mark.parametrize("path", [path for path in MODULES if name_of(path).startswith("flows.")], ids=name_of)
def test_command_of_a_job_holds_nothing_but_a_number(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Dict):
            continue
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "command" and isinstance(value, ast.JoinedStr):
                inserted = [part.value for part in value.values if isinstance(part, ast.FormattedValue)]
                assert {ast.unparse(part).rpartition(".")[2] for part in inserted} == {"workers_per_host"}
                assert type(make_trial(strategy=Strategy.MULTI_WORKER_MIRRORED).workers_per_host) is int


@pytest.mark.parametrize("name", ["../../x", "/x", "..", ".", "", "a/b", "a\\b", "-x", "a\n", "x" * 101, "ä"])
def test_run_name_of_a_trial_cannot_leave_the_results_root(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRATBENCH_ROOT", str(tmp_path / "root"))
    meeting = Meeting(chief=uuid4(), run_count=1, attempt=1, num_places=2)
    for part in (
        trial.fn(make_trial(), run_name=name, submitted_at=datetime.now(UTC)),
        rank.fn(make_trial(), run_name=name, meeting=meeting, place=1),
    ):
        state = asyncio.run(part)
        assert (state.type, state.name) == (StateType.FAILED, "Refused")
        assert str(state.message).startswith(f"run_name={name!r} must be")
    assert not list(tmp_path.iterdir())


def analyze_text(folder: Path, text: str) -> Analysis:
    """A run in which everything that comes from outside is `text`."""
    sweep = pair(3, dataset=f"/data/{text}")
    run = make_run(sweep, run_name=text, command=f"run {text}", end=End(reason=text, num_blocks=3))
    names = [field.name for field in dataclasses.fields(ENVIRONMENT) if field.type in (str, str | None)]
    environment = dataclasses.replace(ENVIRONMENT, **dict.fromkeys(names, text))
    records = []
    for number, each in enumerate(plan(run)):
        result = realistic(each)
        outcome = (
            make_failure(each, text)
            if each.block == 3
            else dataclasses.replace(result, versions=dict.fromkeys(result.versions, text))
        )
        changes = {"environment": environment, "python_version": text, "num_attempts": 2, "first_taint": text}
        records.append(record_of(run, outcome, number, **changes))
    return analyze(run, read_records(folder, records))


@pytest.mark.parametrize("is_brief", [False, True], ids=["whole", "brief"])
def test_text_from_outside_stays_text(tmp_path: Path, is_brief: bool) -> None:
    edition = Edition(lambda chart: f"charts/{chart}.svg", is_brief=is_brief)
    harmless, hostile = (
        compose(analyze_text(tmp_path / name, text), edition)
        for name, text in (("harmless", "word"), ("hostile", HOSTILE))
    )
    assert [[len(row) for row in rows] for rows in tables_of(hostile)] == [
        [len(row) for row in rows] for rows in tables_of(harmless)
    ]
    for token in MarkdownIt("commonmark").enable("table").parse(hostile):
        assert token.type != "html_block" or FOLD.fullmatch(token.content)
        for child in token.children or ():
            assert child.type not in ("html_inline", "link_open")
            assert child.type != "image" or str(child.attrs["src"]).startswith("charts/")
    page, plain = (Page(render(text, lambda _: b"<svg/>")) for text in (hostile, harmless))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert {name for _, attributes in page.elements for name in attributes} == {
        name for _, attributes in plain.elements for name in attributes
    }
    assert is_brief or "<script>alert(1)<img src=x onerror=y> [l](javascript:alert(1))" in page.text
