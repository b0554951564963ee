from collections.abc import Iterable

import pytest
from pydantic import TypeAdapter

from tasks.domain.exit_code import ExitCode, worst
from tasks.domain.outcome import FailureReason, InvalidReason, Rule


@pytest.mark.parametrize("reason", [*InvalidReason, *FailureReason])
def test_every_reason_is_its_code_and_says_what_it_means(reason: Rule) -> None:
    assert reason == reason.value == reason.name.lower() == str(reason)
    assert reason.doc.endswith(".")
    assert type(reason)(reason.value) is reason  # type: ignore[call-arg]
    adapter = TypeAdapter(type(reason))
    assert adapter.validate_json(adapter.dump_json(reason)) is reason


def test_codes_are_used_once_and_explained_each_by_itself() -> None:
    codes = [*InvalidReason, *FailureReason]
    assert len(set(codes)) == len({code.doc for code in codes}) == len(codes)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((), ExitCode.OK),
        ((ExitCode.OK, ExitCode.OK), ExitCode.OK),
        ((ExitCode.IMPROVED, ExitCode.REGRESSED), ExitCode.REGRESSED),
        ((ExitCode.REGRESSED, ExitCode.INVALID), ExitCode.INVALID),
        ((ExitCode.OK, ExitCode.INVALID, ExitCode.OK), ExitCode.INVALID),
        ((ExitCode.INVALID, ExitCode.FAILED, ExitCode.OK), ExitCode.FAILED),
        ((ExitCode.INCONCLUSIVE, ExitCode.PARTIAL), ExitCode.PARTIAL),
        ((ExitCode.INCONCLUSIVE, ExitCode.IMPROVED, ExitCode.OK), ExitCode.INCONCLUSIVE),
    ],
)
def test_worst_code_of_several_is_said(codes: Iterable[ExitCode], expected: ExitCode) -> None:
    assert worst(codes) is expected


def test_exit_codes_are_those_that_callers_rely_on() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0, "INTERNAL_ERROR": 1, "REFUSED": 2, "REGRESSED": 10, "IMPROVED": 11, "SUSPECT": 12, "INCONCLUSIVE": 13,
        "INVALID": 14, "FAILED": 15, "NOT_MEASURED": 16, "NO_BASELINE": 17, "PARTIAL": 18, "INTERRUPTED": 130,
    }  # fmt: skip
