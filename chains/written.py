"""A verdict that a human wrote down, as the distribution an intrinsic would have found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from intrinsics.spec import Definition

Answer: TypeAlias = str | bool | int | float | Mapping[str, float]
"""A value, the probability of the positive label, or a probability for each label."""
_SURE = 0.99  # of a label that is given as a value: conditions on probabilities see no certainty


def distribution(definition: Definition, answer: Answer) -> dict[str, float]:
    """An answer as a probability for each label; none for an intrinsic that writes text.

    Raises: ValueError: the intrinsic can't answer that; the message says what it can.
    """
    labels, name = definition.output.labels, definition.name
    if not labels:
        if not isinstance(answer, str):
            raise ValueError(f"{name} writes text; {answer!r} is none")
        return {}
    if isinstance(answer, Mapping):
        if set(answer) - set(labels) or abs(sum(answer.values()) - 1) > 1e-6:
            known = ", ".join(labels)
            raise ValueError(
                f"{name}: {dict(answer)} are no probabilities of {known} that sum to 1"
            )
        return {label: float(answer.get(label, 0.0)) for label in labels}
    if definition.output.type == "probability" and isinstance(answer, int | float):
        if not 0 <= answer <= 1:
            raise ValueError(f"{name}: {answer} is no probability")
        positive = str(definition.output.positive)
        rest = (1 - float(answer)) / (len(labels) - 1)
        return {label: float(answer) if label == positive else rest for label in labels}
    label = str(answer).lower() if isinstance(answer, bool) else str(answer)
    if label not in labels:
        raise ValueError(f"{name} never answers {answer!r}; it answers {', '.join(labels)}")
    rest = (1 - _SURE) / max(1, len(labels) - 1)
    return {one: _SURE if one == label else rest for one in labels}


def value_of(
    definition: Definition, answer: Answer, found: Mapping[str, float]
) -> str | bool | int | float:
    """The value of an answer whose distribution was `found`."""
    return definition.value_of(dict(found)) if found else str(answer)
