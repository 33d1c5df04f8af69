"""What the wheel holds, that it is enough to run from, and that an editable install is too."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
IGNORED = {".training", "__pycache__"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run([*build, "--directory", str(folder)], cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def shipped_files() -> list[Path]:
    """Everything in `library/` but what a training left behind."""
    files = (path for path in (ROOT / "library").rglob("*") if path.is_file())
    return [path for path in files if not IGNORED & set(path.parts)]


def test_top_level_is_the_two_packages_and_the_metadata(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {"intrinsics", "chains", f"alora_chains-{version('alora-chains')}.dist-info"}


def test_library_is_in_the_wheel_byte_for_byte_and_holds_no_python(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    prefix = "intrinsics/library/"
    inside = {name for name in archive.namelist() if name.startswith(prefix)}
    expected = {prefix + p.relative_to(ROOT / "library").as_posix(): p for p in shipped_files()}
    assert inside == expected.keys()
    assert any(name.endswith("adapter_model.safetensors") for name in inside)
    for name, path in expected.items():
        assert archive.read(name) == path.read_bytes(), name
    assert not [name for name in inside if name.endswith(".py")]


@pytest.mark.parametrize("package", ["report", "tracing"])
def test_templates_of_pages_are_in_the_wheel(wheel: Path, package: str) -> None:
    folder = ROOT / "chains" / package / "templates"
    expected = {path.relative_to(ROOT).as_posix() for path in folder.iterdir()}
    assert expected and expected <= set(zipfile.ZipFile(wheel).namelist())


def test_licence_is_in_the_wheel(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.endswith("licenses/LICENSE")]


def test_unpacked_wheel_finds_its_library_inside_the_package(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "from intrinsics.catalogue import Catalogue\n"
        "from intrinsics.library import library_path\n"
        "print(library_path())\n"
        "print(*Catalogue().names())"
    )
    output = subprocess.check_output(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        text=True,
    )
    where, names = output.splitlines()
    assert Path(where) == tmp_path / "intrinsics" / "library"
    assert {"answerability", "certainty", "safety"} <= set(names.split())


def test_installed_distribution_is_this_checkout_with_its_command() -> None:
    code = "import chains, intrinsics; print(chains.__file__); print(intrinsics.__file__)"
    output = subprocess.check_output([sys.executable, "-c", code], cwd="/", text=True)
    assert output.splitlines() == [
        str(ROOT / "chains" / "__init__.py"),
        str(ROOT / "intrinsics" / "__init__.py"),
    ]
    (command,) = entry_points(group="console_scripts", name="chains")
    assert command.value == "chains.cli:main"
    assert Path(sys.executable).with_name("chains").is_file()


def test_every_pin_is_what_is_installed() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    installed = {name: version(name).split("+")[0] for name in pins}  # torch: +cpu or not
    assert installed == pins
