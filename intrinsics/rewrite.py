"""Fitted values written into intrinsic.yaml: a person's comments and order stay."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from .calibrate import Fitting
from .errors import DefinitionError, Fault
from .spec import FILE


def write_fitting(directory: Path, fitting: Fitting) -> None:
    """Set calibration and threshold in DIRECTORY/intrinsic.yaml, which is replaced as a whole.

    Raises: DefinitionError: it could not be written; it is as it was.
    """
    path = directory / FILE
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1000
    data = yaml.load(path.read_text(encoding="utf-8"))
    calibration = fitting.calibration.model_dump(exclude_defaults=True)
    _set(data, "calibration", {"temperature": fitting.calibration.temperature, **calibration})
    if fitting.threshold is not None:
        data["threshold"]["at"] = fitting.threshold.at
    fresh: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=directory, prefix=".intrinsic-", delete=False, encoding="utf-8"
        ) as file:
            fresh = Path(file.name)
            yaml.dump(data, file)
        shutil.copymode(path, fresh)
        os.replace(fresh, path)
    except OSError as error:
        if fresh is not None:
            fresh.unlink(missing_ok=True)
        message = f"cannot be rewritten ({error}); it is as it was"
        raise DefinitionError([Fault(str(path), 1, 1, message)]) from error


def _set(data: Any, key: str, values: dict[str, Any]) -> None:
    """Make data[key] hold exactly these values; the comments of those that stay are kept."""
    if key not in data:
        data[key] = {}
    for name in [name for name in data[key] if name not in values]:
        del data[key][name]
    data[key].update(values)
