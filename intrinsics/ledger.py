"""What a result cost: tokens reused, tokens computed, forwards, seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ledger:
    """The cost of one result or, summed, of a run.

    `reused` tokens were read from the KV tree, `computed` ones went through the model;
    `activated_at` is the position of an intrinsic's first adapted token.
    """

    reused: int = 0
    computed: int = 0
    forwards: int = 0
    seconds: float = 0.0
    activated_at: int | None = None

    def __add__(self, other: Ledger) -> Ledger:
        """Both costs together; a sum has no activation start."""
        return Ledger(
            self.reused + other.reused,
            self.computed + other.computed,
            self.forwards + other.forwards,
            self.seconds + other.seconds,
        )

    def to_dict(self) -> dict[str, int | float | None]:
        """Plain values for JSON."""
        return dict(vars(self))  # `asdict` copies each number, in ten times the time
