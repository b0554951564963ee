"""Events of nights on the Prefect server: what they are called, what they hold, and that they arrive."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from prefect.client.orchestration import PrefectClient, SyncPrefectClient
from prefect.events import Event, RelatedResource
from prefect.events.schemas.events import Resource

from flows.names import TAG

RESOURCE = "stratbench.night"
"""Begins the id of the resource that such an event is of; the name of the night's run follows."""
_ID, _ROLE = "prefect.resource.id", "prefect.resource.role"


class Happening(StrEnum):
    """What can happen in a night, as its events are called."""

    REGRESSION = "benchmark.regression"
    IMPROVEMENT = "benchmark.improvement"
    RECOVERED = "benchmark.recovered"
    """A regression, or an improvement, is gone."""
    PLATFORM = "benchmark.platform"
    """The machine itself changed, or is again as it was: the control's own seconds say so."""
    INCOMPLETE = "benchmark.incomplete"
    """There is no verdict on some cell, or none at all."""
    SUSPECT = "benchmark.suspect"


NOTIFIED = tuple(kind for kind in Happening if kind is not Happening.SUSPECT)
"""Of what somebody is notified: whether a suspicion holds, the next night says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Links:
    """Where to look and what to do, for whoever reads an alert."""

    run_id: str | None = None
    """The flow run."""
    deployment_id: str | None = None
    report: str | None = None
    """Path or address of the report."""
    command: str | None = None
    """Measures that night again."""
    ui_url: str | None = None
    """Address below which the pages of Prefect's user interface are."""

    @property
    def run_url(self) -> str | None:
        """The page of the flow run."""
        return f"{self.ui_url.rstrip('/')}/runs/flow-run/{self.run_id}" if self.ui_url and self.run_id else None

    @property
    def lines(self) -> tuple[str, ...]:
        """Each for people, where it is known."""
        named = (("Run", self.run_url), ("Report", self.report), ("Measure again", self.command))
        return tuple(f"{name}: {value}" for name, value in named if value)


def make(
    kind: Happening,
    night: date,
    run_name: str,
    *,
    subject: str,
    lines: Sequence[str],
    links: Links,
    cells: Sequence[Mapping[str, object]] = (),
) -> Event:
    """The event; its message is enough for whoever is on call."""
    related = [{_ID: f"prefect.tag.{TAG}", _ROLE: "tag"}]
    for role, identity in (("flow-run", links.run_id), ("deployment", links.deployment_id)):
        related += [{_ID: f"prefect.{role}.{identity}", _ROLE: role}] if identity else []
    return Event(
        event=kind,
        resource=Resource({_ID: f"{RESOURCE}.{run_name}", "prefect.resource.name": f"night of {night}"}),
        related=[RelatedResource(each) for each in related],
        payload={
            "subject": f"stratbench, night of {night}: {subject}",
            "message": "\n".join((*lines, "", *links.lines)).strip(),
            "night": str(night),
            "cells": list(cells),
            "report": links.report,
            "run_url": links.run_url,
            "command": links.command,
        },
    )


def missed(nights: Sequence[date], why: str, run_name: str, links: Links) -> Event:
    """The event of nights that were not measured, the last one's; several that were missed in a row are one event."""
    named = ", ".join(map(str, nights))
    subject = "not measured" if len(nights) == 1 else f"not measured, nor are {len(nights) - 1} before it"
    lines = (f"Not measured: the night{'s' if len(nights) > 1 else ''} of {named}; {why}.",)
    return make(Happening.INCOMPLETE, nights[-1], run_name, subject=subject, lines=lines, links=links)


async def send(client: PrefectClient, events: Sequence[Event]) -> None:
    """Return when the server has them; once more is as good as once."""
    await client.request("POST", "/events", json=[event.model_dump(mode="json") for event in events])


def send_now(client: SyncPrefectClient, events: Sequence[Event]) -> None:
    """The same, without waiting for anything else meanwhile."""
    client.request("POST", "/events", json=[event.model_dump(mode="json") for event in events])
