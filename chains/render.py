"""How verdicts, ledgers and runs look in a terminal. Renderables from plain values, no output.

Every bar and mark is readable without colour, and has a spelling in ASCII.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rich.cells import cell_len
from rich.text import Text

Tone: TypeAlias = Literal["good", "bad", "plain"]
Value: TypeAlias = str | bool | int | float

STYLES: dict[Tone, str] = {"good": "green", "bad": "bright_red", "plain": "bright_blue"}
DIM = "bright_black"
ACCENT = "bright_cyan"
EDGE = "yellow"
_INDENT = 2
_NARROW = 60  # columns; below, the marks of a fan-out are left out
_SHORTEST_BAR = 4


@dataclass(frozen=True)
class Glyphs:
    """The characters that drawings are made of."""

    full: str
    half: str
    rest: str
    reused: str
    computed: str
    arrow: str
    dot: str
    times: str
    joint: tuple[str, str, str]
    tree: tuple[str, str, str]
    shade: str
    here: str
    back: str
    line_end: str
    spinner: str


UNICODE = Glyphs(
    full="━",
    half="╸",
    rest="─",
    reused="▁",
    computed="█",
    arrow="↳",
    dot="·",
    times="\u00d7",
    joint=("┐", "┤", "┘"),
    tree=("├ ", "└ ", "│ "),
    shade="▒",
    here="●",
    back="↶",
    line_end="⏎",
    spinner="⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏",
)
ASCII = Glyphs(
    full="=",
    half="-",
    rest=".",
    reused=".",
    computed="#",
    arrow="->",
    dot="|",
    times="x",
    joint=("\\", "|", "/"),
    tree=("|-", "`-", "| "),
    shade=":",
    here="*",
    back="<-",
    line_end="\\n",
    spinner="|/-\\",
)


@dataclass(frozen=True)
class Shown:
    """A verdict as it is shown: whose it is, its value in words, and how likely that is.

    A text that was written has no probability.
    """

    intrinsic: str
    words: str
    probability: float | None
    tone: Tone = "plain"

    @property
    def plain(self) -> str:
        """It as one line without colour."""
        share = "" if self.probability is None else f" {self.probability:.2f}"
        return f"{self.intrinsic}: {self.words}{share}"


def in_words(value: Value, distribution: dict[str, float], positive: str | None) -> Shown:
    """A verdict in words: a label as it is, a probability as `P(label)`.

    An enum or bool that has its positive label is "bad": it found what it looks for.
    """
    if isinstance(value, float):
        label = positive or next((k for k, p in distribution.items() if p == value), "")
        return Shown("", f"P({label})", value)
    words = str(value).lower() if isinstance(value, bool) else str(value)
    if not distribution:
        return Shown("", " ".join(words.split()), None)
    tone: Tone = "plain"
    if positive is not None:
        tone = "bad" if words == positive else "good"
    return Shown("", words, distribution.get(words, 0.0), tone)


def bar(share: float, width: int, glyphs: Glyphs, style: str) -> Text:
    """A share from 0 to 1 as a line: heavy as far as it goes, light for the rest."""
    halves = round(min(max(share, 0.0), 1.0) * width * 2)
    full, half = divmod(halves, 2)
    drawn = glyphs.full * full + (glyphs.half if half else "")
    return Text.assemble((drawn, style), (glyphs.rest * (width - full - half), DIM))


@dataclass(frozen=True)
class Columns:
    """How wide names and values are drawn, so that the badges of a whole chat are aligned."""

    names: int = 0
    values: int = 0

    @staticmethod
    def around(shown: Iterable[tuple[str, str]]) -> Columns:
        """Wide enough for all these names and values."""
        pairs = list(shown)
        return Columns(
            max((cell_len(name) for name, _ in pairs), default=0),
            max((cell_len(value) for _, value in pairs), default=0),
        )


def badges(
    shown: Sequence[Shown],
    width: int,
    glyphs: Glyphs,
    note: str = "",
    columns: Columns | None = None,
) -> list[Text]:
    """One line a verdict: name, value, bar, probability; `note` beside the last of them.

    Verdicts read in one forward are joined by a bracket at the right; texts stand below them.
    """
    scored = [one for one in shown if one.probability is not None]
    texts = [one for one in shown if one.probability is None]
    own = Columns.around(
        [*((one.intrinsic, one.words) for one in scored), *((one.intrinsic, "") for one in texts)]
    )
    wide = columns or own
    names, values = max(own.names, wide.names), max(own.values, wide.values)
    marked = width >= _NARROW and bool(note)
    fixed = _INDENT + names + values + 4 + 6 + (cell_len(note) + 4 if marked else 0)
    size = min(24, width - fixed - 1)
    lines = []
    for index, one in enumerate([*scored, *texts]):
        style = STYLES[one.tone]
        line = Text(" " * _INDENT)
        line.append(one.intrinsic.ljust(names + 2))
        if one.probability is None:
            line.append(one.words, f"bold {style}")
            if marked and not scored and one is texts[-1]:
                line.append(_mark(0, 1, glyphs, note), DIM)
            lines.append(line)
            continue
        line.append(one.words.ljust(values + 2), f"bold {style}")
        if size >= _SHORTEST_BAR:
            line.append_text(bar(one.probability, size, glyphs, style)).append("  ")
        line.append(f"{one.probability:.2f}")
        if marked:
            line.append(_mark(index, len(scored), glyphs, note), DIM)
        lines.append(line)
    return lines


def _mark(index: int, count: int, glyphs: Glyphs, note: str) -> str:
    if count == 1:
        return f"  {glyphs.dot} {note}"
    top, middle, bottom = glyphs.joint
    if index == count - 1:
        return f" {bottom}  {note}"
    return f" {top if index == 0 else middle}"


@dataclass
class Costs:
    """What a turn's verdicts and the turn itself cost, added up while it runs."""

    reused: int = 0
    computed: int = 0
    seconds: float = 0.0
    verdicts: int = 0

    @property
    def as_lora(self) -> int:
        """Tokens that ordinary LoRAs would have prefilled: each verdict's prefix and own tokens."""
        return self.reused + self.computed

    @property
    def factor(self) -> float:
        """How many times fewer tokens were computed for the verdicts."""
        return self.as_lora / self.computed if self.computed else 1.0

    def add(self, other: Costs) -> None:
        """Add those of another turn. Changes: this one."""
        self.reused += other.reused
        self.computed += other.computed
        self.seconds += other.seconds
        self.verdicts += other.verdicts


def times(factor: float, glyphs: Glyphs) -> str:
    """`404x`, or `3.1x` below ten."""
    return f"{factor:,.1f}{glyphs.times}" if factor < 10 else f"{factor:,.0f}{glyphs.times}"


def figures(costs: Costs, glyphs: Glyphs) -> Text:
    """`verdicts: reused 1,204 · computed 9 · as LoRA prefills 1,213 (135x) · 0.1 s`.

    Without verdicts only the time is told.
    """
    parts: list[Text] = []
    if costs.verdicts:
        parts += [
            Text.assemble("verdicts: reused ", (f"{costs.reused:,}", "bold")),
            Text.assemble("computed ", (f"{costs.computed:,}", f"bold {ACCENT}")),
            Text.assemble(
                "as LoRA prefills ",
                (f"{costs.as_lora:,}", "bold"),
                (f" ({times(costs.factor, glyphs)})", f"bold {ACCENT}"),
            ),
        ]
    parts.append(Text(f"{costs.seconds:.1f} s", DIM))
    return Text(f" {glyphs.dot} ", DIM).join(parts)


def tape(costs: Costs, width: int, glyphs: Glyphs) -> Text:
    """All tokens the verdicts stand on as one line: light what was reused, solid the computed.

    What was computed shows as at least one cell.
    """
    total = costs.as_lora or 1
    solid = min(width, max(1, round(width * costs.computed / total))) if costs.computed else 0
    return Text.assemble((glyphs.reused * (width - solid), DIM), (glyphs.computed * solid, ACCENT))


class WordWrap:
    """Breaks text that arrives in pieces into lines, between words, without taking any back.

    The last, maybe unfinished, word is held until what follows it is known.
    """

    def __init__(self, width: int, indent: int) -> None:
        self._width, self._indent = max(width, indent + 10), indent
        self._column, self._word, self._gap = 0, "", ""

    @property
    def open(self) -> bool:
        """Whether a line was begun, or a word is held."""
        return bool(self._column or self._word)

    def push(self, text: str) -> str:
        """What can be written now."""
        written = ""
        for character in text:
            if character == "\n":
                written += self._place() + "\n"
                self._column, self._gap = 0, ""
            elif character.isspace():
                written += self._place()
                self._gap += character.expandtabs(4)
            else:
                self._word += character
                if self._indent + cell_len(self._word) >= self._width:
                    written += self._place()
        return written

    def flush(self) -> str:
        """The word that was held."""
        return self._place()

    def _place(self) -> str:
        word, gap = self._word, self._gap
        if not word:
            return ""
        self._word, self._gap = "", ""
        if self._column == 0:
            start = " " * self._indent + gap
        elif self._column + cell_len(gap + word) > self._width:
            start, self._column = "\n" + " " * self._indent, 0
        else:
            start = gap
        self._column += cell_len(start.lstrip("\n") + word)
        return start + word


CONTROLS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def harmless(text: str) -> str:
    """Text in which no character can steer a terminal: a model or a document may hold any."""
    return text.translate(CONTROLS)
