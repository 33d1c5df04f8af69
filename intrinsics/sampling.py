"""How a reply is drawn: plain values, without torch."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import RequestError


@dataclass(frozen=True)
class Sampling:
    """How the base model's next token is chosen, and when it stops.

    Temperature 0 is greedy; the same seed gives the same text. The reply ends at the model's own
    end token, before the first of the `stop` strings, or after `max_tokens`.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises: RequestError: a value outside its range."""
        checks = {
            f"max_tokens = {self.max_tokens}; it must be at least 1": self.max_tokens >= 1,
            f"temperature = {self.temperature}; it must be from 0 to 10": 0
            <= self.temperature
            <= 10,
            f"top_p = {self.top_p}; it must be above 0 and at most 1": 0 < self.top_p <= 1,
            f"seed = {self.seed}; it must be from 0 to 2**63 - 1": 0 <= self.seed < 2**63,
            "stop holds an empty string, which would end every reply at once": all(self.stop),
        }
        for message, holds in checks.items():
            if not holds:
                raise RequestError(f"sampling: {message}")
