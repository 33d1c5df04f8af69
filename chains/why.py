"""Why a verdict is as it is: its whole distribution, and the tokens the adapter acted on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.text import Text

from intrinsics.fanout import FanOut, Verdict

from .render import DIM, STYLES, Glyphs, Tone, bar

_BAR_CELLS = 24
_SPAN_CHARACTERS = 600  # of the text an adapter acted on; a plain LoRA acts on the whole prompt


def explained(
    found: Sequence[FanOut],
    positive: Callable[[str], str | None],
    decode: Callable[[list[int]], str],
    glyphs: Glyphs,
) -> Iterator[Text]:
    """Lines about all verdicts of a turn; `positive` gives an intrinsic's label of interest."""
    for fan_out in found:
        for verdict in fan_out.verdicts:
            yield Text(f"  {verdict.intrinsic}", "bold")
            yield from _distribution(verdict, positive(verdict.intrinsic), glyphs)
            yield from _span(verdict, decode, glyphs)
            yield Text()


def _distribution(verdict: Verdict, positive: str | None, glyphs: Glyphs) -> Iterator[Text]:
    if not verdict.distribution:
        yield Text(f"    wrote {verdict.value!r}")
    wide = max((len(label) for label in verdict.distribution), default=0)
    found = str(verdict.value).lower() if isinstance(verdict.value, bool) else verdict.value
    for label, p in sorted(verdict.distribution.items(), key=lambda item: -item[1]):
        tone: Tone = "plain" if positive is None else "bad" if label == positive else "good"
        line = Text("    ").append(label.ljust(wide + 2), "bold" if label == str(found) else "")
        line.append_text(bar(p, _BAR_CELLS, glyphs, STYLES[tone])).append(f"  {p:.4f}")
        raw = verdict.raw_distribution[label]
        if f"{raw:.4f}" != f"{p:.4f}":
            line.append(f"  {raw:.4f} before calibration", DIM)
        yield line


def _span(verdict: Verdict, decode: Callable[[list[int]], str], glyphs: Glyphs) -> Iterator[Text]:
    if not verdict.asked:
        yield Text("    not asked: there are no documents", DIM)
        return
    start = verdict.ledger.activated_at or 0
    acted = verdict.token_ids[start:]
    if start:
        told = (
            f"read {start:,} tokens as the base model left them, acted on the last {len(acted):,}:"
        )
    else:
        told = f"acted on all {len(acted):,} tokens, as an ordinary LoRA does:"
    yield Text(f"    {told}", DIM)
    text = decode(list(acted)).replace("\n", glyphs.line_end)
    if len(text) > _SPAN_CHARACTERS:
        text = f"{text[:_SPAN_CHARACTERS]} ..."
    yield Text(f"    {text}", "yellow")
