"""The two-minute tour: prepared documents, and questions in which each intrinsic matters."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pydantic import BaseModel, ConfigDict
from rich.padding import Padding
from rich.text import Text

from intrinsics.library import library_path
from intrinsics.located import load
from intrinsics.messages import Document

from . import events as ev
from .chat import WITH_DOCUMENTS, Chat
from .render import ACCENT
from .screen import Screen


class Stop(BaseModel):
    """One step: what is explained, asked, and said of the outcome.

    `then` maps the node a run went through to the comment on that; a stop has one for each way.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    chain: str
    tell: str
    ask: str
    then: dict[str, str]

    def comment(self, nodes: Iterable[str]) -> str:
        """What there is to say of a run that went through these nodes; the last one counts."""
        return next((self.then[node] for node in reversed([*nodes]) if node in self.then), "")


class Tour(BaseModel):
    """The prepared documents and the stops."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    welcome: str
    documents: tuple[Document, ...]
    stops: tuple[Stop, ...]
    farewell: str


def shipped_tour() -> Tour:
    """The tour in `library/tour.yaml`."""
    return Tour.model_validate(load(library_path() / "tour.yaml").data)


def guide(chat: Chat, prompt: str, goes_on: Callable[[], bool]) -> None:
    """Walk through the shipped tour; `goes_on` is asked before each stop but the first.

    Changes: the chat, which ends in the last conversation.
    """
    tour = shipped_tour()
    tell(chat.screen, tour.welcome)
    for number, stop in enumerate(tour.stops, start=1):
        if number > 1 and not goes_on():
            break
        title = f"{number}/{len(tour.stops)}  {stop.title}"
        chat.screen.print(Text(title, f"bold {ACCENT}"))
        tell(chat.screen, stop.tell)
        if stop.chain != chat.chain.name:
            chat.restart(stop.chain, tour.documents if stop.chain == WITH_DOCUMENTS else ())
        chat.screen.print(Text.assemble((prompt, f"bold {ACCENT}"), stop.ask))
        kept = chat.turn(stop.ask)
        events = chat.last.events if chat.last else ()
        nodes = [event.node for event in events if isinstance(event, ev.NodeFinished)]
        tell(chat.screen, stop.comment(nodes) if kept else "")
    tell(chat.screen, tour.farewell)


def tell(screen: Screen, text: str) -> None:
    """A paragraph of explanation, and a gap."""
    if text:
        if screen.plain:  # never broken, so never wrapped
            screen.line(text.strip())
        else:
            screen.print(Padding(Text(text.strip(), "italic"), (0, 2)))
        screen.print()
