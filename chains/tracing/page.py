"""A run as one HTML page: no scripts, nothing from outside, every text escaped."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..drawing import layout, picture, svg
from ..events import Event
from ..model import ChainModel
from ..report.page import duration, percent
from .story import Story, Visit, tell

_TEMPLATES = Path(__file__).parent / "templates"
_STYLE = Path(__file__).parent.parent / "report" / "templates"  # the pages look alike
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)


def render(events: list[Event], model: ChainModel) -> str:
    """The page of a run of a chain. Raises: InputError: the events are not of this chain."""
    drawn = picture(model)
    story = tell(events, model, drawn)
    environment = Environment(
        loader=FileSystemLoader([_TEMPLATES, _STYLE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "duration": duration,
        "percent": percent,
        "ranked": ranked,
        "tokens": tokens,
        "value": value,
        "visible": visible,
    }
    graph = svg(layout(drawn), story.path)
    view = {"story": story, "model": model, "graph": graph, "scale": scale(story)}
    return environment.get_template("trace.html.j2").render(view)


def visible(text: Any) -> str:
    """Text in which characters that show nothing, or turn the line round, are written out."""
    return _UNSEEN.sub(lambda found: f"\u27e8U+{ord(found[0]):04X}\u27e9", str(text))


def value(found: Any) -> str:
    """A value in words; what is neither text nor number as JSON."""
    if isinstance(found, float):
        return f"{found:.3f}"
    return visible(found if isinstance(found, str) else json.dumps(found, ensure_ascii=False))


def tokens(visit: Visit, kind: str) -> int:
    """Tokens reused or computed at a visit."""
    return int(visit.ledger.get(kind) or 0)


def ranked(distribution: Mapping[str, float]) -> list[tuple[str, float]]:
    """Labels by probability, the likeliest first."""
    return sorted(distribution.items(), key=lambda pair: -pair[1])


def scale(story: Story) -> dict[str, float]:
    """What the full width of the bars stands for: seconds, and tokens."""
    most = max((tokens(one, "reused") + tokens(one, "computed") for one in story.visits), default=0)
    return {"seconds": max(story.seconds, 1e-9), "tokens": max(most, 1)}
