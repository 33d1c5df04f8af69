"""Mistakes made with this framework are noticed as docs/mistakes.md says; the page is current."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable
from typing import Any

import mistakes_page as page
import pytest
import with_chains
from mistakes import run
from telling import Endless, Steps, Told, observed, plain

RESULTS: dict[str, Any] = json.loads(page.RESULTS.read_text())
NOTICED = {
    "unknown_node": ("load", "unknown node 'anwser'; did you mean 'answer'?"),
    "label_typo": ("load", "unknown label of the function 'unsave'; did you mean 'unsafe'?"),
    "missing_else": ("load", "no edge is taken when this is false"),
    "unknown_key": ("run", "Extra inputs are not permitted"),
    "wrong_type": ("run", "returned 'high', which is not <class 'int'>"),
    "reads_too_early": ("load", "reads 'answer', which may not have run by then"),
    "unreachable": ("load", "no way leads from start to 'answer'"),
    "unbounded_loop": ("load", "unbounded loop through look; add at_most"),
    "two_writers": ("load", "two parallel writers of the conversation, 'one' and 'two'"),
    "renamed_node": ("run", "its chain has changed since"),
    **dict.fromkeys(page.LOSSES, ("never", "")),
}
TEXT_BYTES = 200_000  # of the recorded conversation


@pytest.mark.parametrize("program", with_chains.PROGRAMS, ids=lambda program: program.__name__)
def test_our_mistakes_are_noticed_when_the_page_says(program: Callable[[Told], None]) -> None:
    told = observed(program)
    when, words = NOTICED[program.__name__]
    assert (told.noticed, told.lost) == (when, "")
    assert words in told.message
    kept = RESULTS["mistakes"][program.__name__][page.OURS]
    assert (kept["noticed"], kept["lost"], kept["bytes"]) == (when, "", told.bytes)
    assert told.bytes is None or TEXT_BYTES < told.bytes < 2 * TEXT_BYTES


def test_every_mistake_was_made_or_can_not_be_made_with_every_framework() -> None:
    ours = [program.__name__ for program in with_chains.PROGRAMS]
    assert sorted([*ours, *with_chains.ABSENT]) == sorted(page.MISTAKES)
    assert list(RESULTS["mistakes"]) == list(page.MISTAKES)
    for told in RESULTS["mistakes"].values():
        assert list(told) == list(page.FRAMEWORKS)
        for one in told.values():
            assert one["message"] or one["noticed"] not in ("no such feature", "load", "run", "log")


def test_the_page_has_the_tables_of_the_results() -> None:
    text = page.PAGE.read_text()
    assert page.filled(text, RESULTS) == text, "run benchmarks/mistakes_page.py"


def test_a_program_runs_in_a_process_of_its_own() -> None:
    told = run(sys.executable, "with_chains", "unreachable")
    assert told.pop("versions")["alora-chains"]
    assert told == RESULTS["mistakes"]["unreachable"][page.OURS]


def at_load(told: Told) -> None:
    raise KeyError("anwser")


def at_run(told: Told) -> None:
    told.runs()
    raise KeyError("anwser")


def logged(told: Told) -> None:
    told.runs()
    logging.getLogger("a.peer").warning("ignoring %s", "anwser")
    told.lost_if(True, "the answer")


def warned(told: Told) -> None:
    warnings.warn("ignoring anwser", stacklevel=1)


def unnoticed(told: Told) -> None:
    told.runs()
    told.lost_if(False, "the answer")


def endless(told: Told) -> None:
    told.runs()
    steps = Steps(told)
    while True:
        try:
            steps.one()
        except Endless as stop:
            raise RuntimeError("a node failed") from stop


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (at_load, ("load", "KeyError: 'anwser'", "")),
        (at_run, ("run", "KeyError: 'anwser'", "")),
        (logged, ("log", "ignoring anwser", "the answer")),
        (unnoticed, ("never", "", "")),
        (endless, ("never", "", "the work of 20,000 nodes")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_mistake_is_noticed_by_an_error_a_log_line_or_never(
    program: Callable[[Told], None], expected: tuple[str, str, str]
) -> None:
    told = observed(program)
    assert (told.noticed, told.message, told.lost) == expected


def test_a_warning_counts_as_a_line_in_the_log() -> None:
    told = observed(warned)
    assert told.noticed == "log" and "ignoring anwser" in told.message


def test_messages_name_files_without_their_folders() -> None:
    assert plain("E: /tmp/x-1/a.yaml:7:13: no <f at 0x7f00>") == "E: a.yaml:7:13: no <f>"
