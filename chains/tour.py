"""The two-minute tour: prepared documents and questions in which each intrinsic matters."""

from __future__ import annotations

from dataclasses import dataclass

from intrinsics.library import library_path
from intrinsics.located import load


@dataclass(frozen=True)
class Stop:
    """One step of the tour: what to look at, what is asked, and on which chain."""

    look: str
    ask: str


@dataclass(frozen=True)
class Tour:
    """The prepared document and the stops."""

    title: str
    text: str
    stops: tuple[Stop, ...]


def shipped_tour() -> Tour:
    """The tour in `library/tour.yaml`."""
    data = load(library_path() / "tour.yaml").data
    stops = tuple(Stop(stop["look"], stop["ask"]) for stop in data["stops"])
    return Tour(data["document"]["id"], data["document"]["text"], stops)
