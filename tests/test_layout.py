"""The repository's own rules: who imports whom, how long a file is, what a package makes public."""

from __future__ import annotations

import ast
import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINES = 350
PACKAGES = ("intrinsics", "chains")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
PYTHON = [
    path
    for folder in (*PACKAGES, "tests", "examples", "scripts", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
NOT_IN_THE_ENGINE = {"chains", "networkx", "rich", "typer", "prompt_toolkit"}
MUTABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Level (0: absolute) and dotted name of every import, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""


def absolute_imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {name.split(".")[0] for level, name in imports(tree) if level == 0}


@pytest.mark.parametrize("path", sorted((ROOT / "intrinsics").rglob("*.py")), ids=shown)
def test_engine_knows_no_chain_and_no_terminal(path: Path) -> None:
    assert not absolute_imports(path) & NOT_IN_THE_ENGINE


@pytest.mark.parametrize("path", SOURCES, ids=shown)
def test_package_imports_itself_relatively_and_stays_inside(path: Path) -> None:
    package, *inner = path.relative_to(ROOT).parts
    assert package not in absolute_imports(path)
    levels = [level for level, _ in imports(ast.parse(path.read_text()))]
    assert max(levels, default=0) <= len(inner), "a relative import leaves the package"


def test_every_import_is_the_standard_library_or_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[^\w-]", line)[0] for line in project["dependencies"]}
    declared |= {"tokenizers", "huggingface_hub", "pydantic_core"}  # parts of declared ones
    declared |= {"markdown_it"}  # the parser that rich's Markdown renders from
    declared |= {"peft", "matplotlib"}  # the extra `bench`: what `chains bench` compares and draws
    declared |= {"pypdf"}  # the extra `pdf`
    declared |= {"opentelemetry"}  # the extra `otel`
    declared |= {"langgraph", "burr", "pydantic_graph", "haystack"}  # the extra `peers`
    known = declared | set(sys.stdlib_module_names) | set(PACKAGES)
    unknown = {shown(path): absolute_imports(path) - known for path in SOURCES}
    assert {path: names for path, names in unknown.items() if names} == {}


def test_library_is_data_without_python() -> None:
    assert not list((ROOT / "library").rglob("*.py"))


def test_tests_and_examples_are_not_packages() -> None:
    assert not [
        shown(path) for path in PYTHON if path.name == "__init__.py" and path not in SOURCES
    ]


@pytest.mark.parametrize("path", PYTHON, ids=shown)
def test_no_file_is_longer_than_a_reader_holds_in_mind(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LINES


@pytest.mark.parametrize("path", SOURCES, ids=shown)
def test_no_module_keeps_state_of_its_own(path: Path) -> None:
    """Tables are constants, in capitals; a `global` or a mutable value in lower case is state."""
    tree = ast.parse(path.read_text())
    assert not [node.names for node in ast.walk(tree) if isinstance(node, ast.Global)]
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, MUTABLE):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            assert all(name.isupper() or name == "__all__" for name in names), names


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_sorted_and_exist(package: str) -> None:
    module = importlib.import_module(package)
    names = list(module.__all__)
    assert names == sorted(set(names), key=constants_then_classes)
    assert [name for name in names if not hasattr(module, name)] == []


def constants_then_classes(name: str) -> tuple[bool, bool, str]:
    """Ruff's order of `__all__`."""
    return not name.isupper(), not name[0].isupper(), name
