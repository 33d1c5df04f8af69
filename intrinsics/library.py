"""Where the shipped data lies: the intrinsics and chains of `library/`."""

from __future__ import annotations

from pathlib import Path


def library_path() -> Path:
    """The directory of the shipped data: inside the installed package, or in the checkout."""
    installed = Path(__file__).parent / "library"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "library"
