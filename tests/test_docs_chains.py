"""The page on chains does what it says: its Python runs, its YAML is the same chain."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest

from chains import Chain
from chains.events import Event
from chains.loader import read
from chains.model import ERRORS, KINDS

PAGE = (Path(__file__).parent.parent / "docs" / "chains.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What is defined once every block has run, in a module as a reader's script is."""
    module = ModuleType("page_on_chains")
    sys.modules[module.__name__] = module  # where annotations are looked up
    for block in blocks("python"):
        exec(compile(block, "docs/chains.md", "exec"), module.__dict__)
    return module.__dict__


def test_the_python_of_the_page_runs(names: dict[str, Any]) -> None:
    assert names["told"][-1] == "run_finished"


def test_the_yaml_of_the_page_is_the_same(names: dict[str, Any]) -> None:
    booking, careful = blocks("yaml")
    assert booking == names["chain"].to_yaml().replace(names["__name__"], "__main__")
    model, places = read(careful, "careful.yaml")
    assert Chain(model, places) == names["careful"]


def test_the_page_names_every_kind_reason_and_event() -> None:
    for kind in KINDS:
        assert f"{{{kind}: " in PAGE, kind
    for reason in ERRORS:
        assert f"`{reason}`" in PAGE, reason
    union = get_args(Event)[0]
    for event in get_args(union):
        assert f"`{event.model_fields['event'].default}`" in PAGE, event
