"""Passages of a folder: found as a naive BM25 finds them, kept on disk, and nothing else read."""

from __future__ import annotations

import json
import math
import os
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfReader, PdfWriter

from chains.cli import main
from chains.errors import InputError
from chains.retrieval import Index
from chains.retrieval.index import K1, B, scorer_of
from chains.retrieval.passages import MOST, passages, terms
from chains.retrieval.sources import MAX_BYTES
from intrinsics.messages import Document

GUIDE = """# Guide

The house stands by the harbour.

## Opening hours

It opens at nine in the morning.

```
# no heading: a comment in code
```

## Prices

A ticket costs four crowns.
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "docs" / "sub").mkdir(parents=True)
    (tmp_path / "docs" / "guide.md").write_text(GUIDE)
    (tmp_path / "docs" / "sub" / "boats.txt").write_text("Boats leave at noon.\n\nNo dogs.")
    return tmp_path / "docs"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def ids(documents: list[Document]) -> list[str]:
    return [document.id for document in documents]


def test_a_passage_is_found_and_says_file_passage_and_headings(folder: Path, cache: Path) -> None:
    index = Index.open(folder, cache)
    found = index.search("When does it OPEN, at nine?", 3)
    assert found[0].id == "guide.md#2"
    assert found[0].text.startswith("Guide > Opening hours\n\nIt opens at nine in the morning.")
    assert "# no heading: a comment in code" in found[0].text
    assert ids(index.search("boats", 9)) == ["sub/boats.txt#1"]
    assert index.search("zeppelin", 3) == [] and index.search("?!", 3) == []
    assert [document.id for document in index.documents] == [
        *("guide.md#1", "guide.md#2", "guide.md#3", "sub/boats.txt#1")
    ]
    with pytest.raises(InputError, match="top is 0; ask for at least 1"):
        index.search("boats", 0)


def naive(texts: list[list[str]], query: list[str]) -> list[float]:
    """BM25 as its formula stands, with Lucene's idf."""
    mean = sum(map(len, texts)) / len(texts)
    scores = []
    for text in texts:
        score = 0.0
        for term in query:
            holding = sum(term in other for other in texts)
            if holding:
                idf = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
                count = text.count(term)
                score += idf * count / (count + K1 * (1 - B + B * len(text) / mean))
        scores.append(score)
    return scores


WORDS = st.sampled_from(["tide", "boat", "Boat", "nine", "été", "港", "x1"])
TEXTS = st.lists(st.lists(WORDS, min_size=1, max_size=12).map(" ".join), min_size=1, max_size=8)


@given(texts=TEXTS, query=st.lists(WORDS, max_size=5).map(" ".join))
def test_search_is_the_naive_formula_and_ties_keep_their_order(
    texts: list[str], query: str
) -> None:
    documents = tuple(Document(id=str(i), text=text) for i, text in enumerate(texts))
    split = [terms(text) for text in texts]
    index = Index(documents, (), scorer_of(split))
    expected = naive(split, terms(query))
    # One adds up in another order than the other: float64 rounding.
    np.testing.assert_allclose(index.scores(query), expected, atol=1e-6, rtol=0)
    scores = index.scores(query)
    order = sorted((i for i in range(len(texts)) if scores[i] > 0), key=lambda i: (-scores[i], i))
    assert ids(index.search(query, 4)) == [str(i) for i in order[:4]]


LETTERS = st.text(alphabet="ab .!?\n#`-港", max_size=3000)


@given(text=LETTERS | st.integers(0, 900).map(lambda n: "word " * n), markdown=st.booleans())
def test_passages_hold_every_term_once_and_are_never_too_long(text: str, markdown: bool) -> None:
    found = passages(text, markdown)
    bodies = [terms(one.rpartition("\n\n")[2] if markdown else one) for one in found]
    assert all(0 < len(body) <= MOST for body in bodies)
    if not markdown:
        assert [term for body in bodies for term in body] == terms(text)


def test_only_changed_files_are_read_anew(folder: Path, cache: Path) -> None:
    assert Index.open(folder, cache).renewed == ("guide.md", "sub/boats.txt")
    [kept] = cache.iterdir()
    written = kept.stat().st_mtime_ns
    again = Index.open(folder, cache)
    assert again.renewed == () and kept.stat().st_mtime_ns == written
    assert ids(again.search("crowns", 1)) == ["guide.md#3"]

    boats = folder / "sub" / "boats.txt"
    before = boats.stat()
    boats.write_text("Boats leave at dawn.\n\nNo dogs.")  # as long as before, and as old
    os.utime(boats, ns=(before.st_atime_ns, before.st_mtime_ns))
    changed = Index.open(folder, cache)
    assert changed.renewed == ("sub/boats.txt",)
    assert changed.search("noon", 1) == [] and len(changed.search("dawn", 1)) == 1

    boats.unlink()
    (folder / "new.text").write_text("A dog.")
    moved = Index.open(folder, cache)
    assert moved.renewed == ("new.text",)
    assert ids(moved.search("dog dogs dawn", 5)) == ["new.text#1"]
    assert Index.open(folder, cache).documents == moved.documents


@pytest.mark.parametrize("kind", ["empty", "cut", "text", "foreign", "flipped", "part"])
def test_a_broken_or_foreign_index_is_made_again(folder: Path, cache: Path, kind: str) -> None:
    first = Index.open(folder, cache)
    [kept] = cache.iterdir()
    data = bytearray(kept.read_bytes())
    if kind == "flipped":
        data[len(data) // 2] ^= 255
    broken = {"empty": b"", "cut": data[: len(data) // 2], "text": b"hello", "flipped": data}
    kept.write_bytes(bytes(broken.get(kind, data)))
    if kind == "foreign":
        with zipfile.ZipFile(kept, "w") as archive:
            archive.writestr("manifest.json", '{"format": 1, "folder": "/other", "files": []}')
    if kind == "part":
        (cache / "x.part").write_bytes(data[:100])  # what a killed writer leaves
    index = Index.open(folder, cache)
    assert index.documents == first.documents
    assert ids(index.search("crowns", 1)) == ["guide.md#3"]
    assert Index.open(folder, cache).renewed == ()


def test_an_index_that_cannot_be_kept_is_told_and_used(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="the index can't be kept"):
        index = Index.open(folder, tmp_path / "file")
    assert len(index.documents) == 4


def pdf(path: Path, text: str, password: str = "") -> None:
    """A page of text, as the format's reference builds one."""
    stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET" if text else ""
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        "/Resources << /Font << /F1 "
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
        f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
    ]
    body, places = "%PDF-1.4\n", []
    for number, one in enumerate(objects, start=1):
        places.append(len(body))
        body += f"{number} 0 obj\n{one}\nendobj\n"
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    end = f"trailer\n<< /Size 5 /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    path.write_text(f"{body}xref\n0 5\n0000000000 65535 f \n{table}{end}")
    if password:
        writer = PdfWriter(PdfReader(path))
        writer.encrypt(password, algorithm="RC4-128")
        writer.write(path)


def test_a_pdf_is_searched(folder: Path, cache: Path) -> None:
    pdf(folder / "Terms.PDF", "Refunds are paid in May.")
    index = Index.open(folder, cache)
    assert ids(index.search("refunds", 3)) == ["Terms.PDF#1"]
    assert index.search("refunds", 1)[0].text == "Refunds are paid in May."


def unusable(folder: Path) -> Iterator[tuple[str, str]]:
    """Make files that give no text; their names, and what is said of each."""
    pdf(folder / "locked.pdf", "Secret.", password="x")
    yield "locked.pdf", "it is an encrypted PDF; save it without a password"
    pdf(folder / "scan.pdf", "")
    yield "scan.pdf", r"it holds no text \(a scan\?\)"
    (folder / "torn.pdf").write_bytes(b"%PDF-1.4\n1 0 obj <<")
    yield "torn.pdf", "it is no readable PDF"
    (folder / "blob.txt").write_bytes(b"a\0b")
    yield "blob.txt", "it is binary, not text"
    (folder / "latin.txt").write_bytes("été".encode("latin-1"))
    yield "latin.txt", "byte 0 is not UTF-8"
    (folder / "empty.md").write_text(" \n")
    yield "empty.md", "it holds no text"
    (folder / "line.md").write_text("---\n")
    yield "line.md", "it holds no words"
    (folder / "huge.txt").touch()
    os.truncate(folder / "huge.txt", MAX_BYTES + 1)
    yield "huge.txt", "it is larger than 64,000,000 bytes; split it"
    os.mkfifo(folder / "pipe.txt")
    yield "pipe.txt", "it is no regular file"
    (folder.parent / "outside.txt").write_text("Treasure.")
    (folder / "out.txt").symlink_to(folder.parent / "outside.txt")
    yield "out.txt", "a symbolic link is not followed"


def test_what_gives_no_text_is_named_and_the_rest_is_searched(folder: Path, cache: Path) -> None:
    expected = dict(unusable(folder))
    (folder.parent / "beside").mkdir()
    (folder.parent / "beside" / "b.txt").write_text("Treasure.")
    (folder / "linked").symlink_to(folder.parent / "beside")
    (folder / ".hidden.txt").write_text("Treasure.")
    (folder / ".git").mkdir()
    (folder / ".git" / "c.txt").write_text("Treasure.")
    (folder / "code.py").write_text("Treasure.")
    for _ in range(2):  # told again at each opening
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            index = Index.open(folder, cache)
        told = [str(one.message) for one in caught if one.category is UserWarning]
        assert len(told) == len(expected)
        for name, words in expected.items():
            with pytest.warns(UserWarning, match=f"{name}: {words}"):
                [warnings.warn(one, stacklevel=1) for one in told if f"{name}:" in one]
        assert index.search("treasure secret", 5) == []
        assert len(index.documents) == 4


def test_a_folder_without_text_is_refused(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(InputError, match="nowhere: there is no such folder"):
        Index.open(tmp_path / "nowhere", cache)
    (tmp_path / "bare").mkdir()
    with pytest.raises(InputError, match=r"bare: no text to search; it needs a file of \.txt,"):
        Index.open(tmp_path / "bare", cache)


def test_the_command_prints_passages_or_json(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (folder / "blob.txt").write_bytes(b"a\0b")
    with pytest.raises(SystemExit) as caught:
        main(["retrieve", str(folder), "which boats leave", "--top", "1", "--json"])
    shown = capsys.readouterr()
    assert caught.value.code == 0
    text = "Boats leave at noon.\n\nNo dogs."
    assert json.loads(shown.out) == {"documents": [{"id": "sub/boats.txt#1", "text": text}]}
    assert "blob.txt: it is binary" in shown.err
    with pytest.raises(SystemExit):
        main(["retrieve", str(folder), "crowns"])
    assert "guide.md#3\nGuide > Prices\n\nA ticket costs four crowns." in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        main(["retrieve", str(folder), "zeppelin", "--json"])
    shown = capsys.readouterr()
    assert caught.value.code == 0 and json.loads(shown.out) == {"documents": []}
    with pytest.raises(SystemExit) as caught:
        main(["retrieve", str(tmp_path / "nowhere"), "x"])
    assert caught.value.code == 2
    assert "there is no such folder" in capsys.readouterr().err
