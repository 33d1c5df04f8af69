"""What the chain calls: the lines of a file as messages, and the verdicts as a report."""

from pathlib import Path
from typing import Any

from intrinsics import Message


def requests(file: str) -> list[Message]:
    """Each line as what a user writes."""
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    return [Message(role="user", content=line) for line in lines if line.strip()]


def report(requests: list[Message], verdicts: list[dict[str, Any]]) -> str:
    """The requests, those that most probably do harm or attack first."""
    rows = [
        (max(found["safety"]["p"]["unsafe"], found["jailbreak"]["p"]["jailbreak"]), request)
        for request, found in zip(requests, verdicts, strict=True)
    ]
    rows.sort(key=lambda row: -row[0])
    return "\n".join(f"{p:.2f}  {request.content}" for p, request in rows)
