"""What an intrinsic's raw probabilities are worth, and from where on its positive label is found.

Both stand in intrinsic.yaml and are fitted on development rows by `intrinsics.calibrate`:

    calibration: {temperature: 1.5, bias: {unsafe: -0.4}}
    threshold: {at_most_false_alarms: 0.05, at: 0.73}
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field, field_validator

LARGEST_BIAS = 20.0  # odds of 5e8: beyond, no evidence would count


class Fitted(BaseModel):
    """A part of intrinsic.yaml that suits some outputs only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def check(self, kind: str, labels: Sequence[str], positive: str | None) -> None:
        """Raises: ValueError: it does not suit an output of this type with these labels."""


class Calibration(Fitted):
    """How raw probabilities become honest ones: softmax(log raw / temperature + bias).

    `bias` is added for the label it names. Neither changes the order in which two labels rank
    examples, so AUROC stays exactly as it is.
    Source: temperature scaling, arXiv 1706.04599 §4; with the bias it is Platt scaling.
    """

    temperature: float = Field(default=1.0, gt=0, le=100)
    bias: dict[str, float] = {}

    @field_validator("bias")
    @classmethod
    def _bias(cls, bias: dict[str, float]) -> dict[str, float]:
        if len(bias) > 1:
            raise ValueError(f"bias names {len(bias)} labels; one of two labels is enough")
        for label, value in bias.items():
            if not abs(value) <= LARGEST_BIAS:
                raise ValueError(
                    f"the bias of {label!r} is {value}; it is from {-LARGEST_BIAS:g} to "
                    f"{LARGEST_BIAS:g}"
                )
        return bias

    def __str__(self) -> str:
        words = [f"temperature {self.temperature:g}"]
        words += [f"bias {value:+g} on {label}" for label, value in self.bias.items()]
        return ", ".join(words)

    def check(self, kind: str, labels: Sequence[str], positive: str | None) -> None:
        """Raises: ValueError: a text; the bias is for no label, or for one of more than two."""
        if kind == "text":
            raise ValueError("a text has no probabilities to calibrate; leave this key out")
        for label in self.bias:
            if label not in labels:
                known = ", ".join(map(repr, labels))
                raise ValueError(f"bias is on {label!r}, which is no label; use one of {known}")
            if len(labels) > 2:
                raise ValueError(f"bias is for two labels; there are {len(labels)}: leave it out")


class Threshold(Fitted):
    """From which probability on the positive label is found: what is wished, and what was fitted.

    A person writes `at_most_false_alarms`, the largest share of other examples that may be taken
    for positive. `at` is fitted: the positive label is found above this probability, and only
    there. Until it is fitted the likeliest label is found.
    """

    at_most_false_alarms: float = Field(gt=0, lt=1)
    at: float | None = Field(default=None, ge=0, le=1)

    def __str__(self) -> str:
        fitted = "not fitted yet; run `chains calibrate`" if self.at is None else f"at {self.at:g}"
        return f"at most {self.at_most_false_alarms:.3g} false alarms, {fitted}"

    def check(self, kind: str, labels: Sequence[str], positive: str | None) -> None:
        """Raises: ValueError: the output is a number, or has no positive label."""
        if kind == "probability":
            raise ValueError(
                "a probability is the value itself and has no threshold; where a chain reads it, "
                "write abstain_below or a condition"
            )
        if positive is None:
            raise ValueError("a threshold is for the positive label, and the output names none")

    def label_of(self, distribution: Mapping[str, float], positive: str) -> str:
        """`positive` above the threshold, else the likeliest of the other labels."""
        if self.at is None:
            return likeliest(distribution)
        if distribution[positive] > self.at:
            return positive
        return likeliest({label: p for label, p in distribution.items() if label != positive})


def likeliest(distribution: Mapping[str, float]) -> str:
    """The label with the largest probability; the first of equals."""
    return max(distribution, key=distribution.__getitem__)
