"""The console's commands, line by line on a tiny model."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny_console
from chains import InputError
from chains.console import Session, Settings
from chains.deeds import Deeds
from chains.errors import OutputError
from chains.saved import load, save
from conftest import check_integrity
from intrinsics.messages import Document
from tiny_console import Tiny, talk


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny_console.build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def deeds(tiny: Tiny) -> Deeds:
    settings = Settings(tiny.folder / "state", str(tiny.folder / "chat.yaml"))
    return Session(tiny.engine, settings, io.StringIO(), io.StringIO()).deeds


def ids(deeds: Deeds) -> tuple[int, ...]:
    return deeds.chat.conversation.ids


def test_a_fork_goes_its_own_way_and_shares_its_past(deeds: Deeds) -> None:
    deeds.say("hello")
    before = deeds.chat.engine.kv_bytes
    deeds.commands.do("/fork other")
    assert deeds.chat.engine.kv_bytes == before, "a fork costs no memory"
    deeds.say("there")
    there = ids(deeds)
    deeds.commands.do("/switch main")
    assert ids(deeds) == there[: len(ids(deeds))] and len(ids(deeds)) < len(there)
    assert [turn.text for turn in deeds.chat.fork.turns] == ["hello"]
    deeds.commands.do("/fork")
    assert deeds.chat.fork.name == "main-2"


def test_undo_rolls_the_conversation_back_and_keeps_later_documents(
    deeds: Deeds, tmp_path: Path
) -> None:
    deeds.say("hello")
    deeds.say("again")
    first = deeds.chat.fork.turns[1].mark
    (tmp_path / "note.md").write_text("A note.")
    deeds.commands.do(f"/docs {tmp_path / 'note.md'}")
    deeds.commands.do("/undo")
    talk_now = deeds.chat.conversation
    assert [m.content for m in talk_now.messages if m.role == "user"] == ["hello"]
    assert [d.id for d in talk_now.documents] == ["note"]
    assert talk_now.mark == first + 1 and talk_now.cached < talk_now.length
    deeds.commands.do("/undo")
    assert len(talk_now.messages) == 0
    with pytest.raises(InputError, match="no turn to undo"):
        deeds.commands.do("/undo")


def test_edit_branches_a_message_and_keeps_both(tiny: Tiny) -> None:
    told = talk(tiny, "first", "second", "/edit 2", "other", "/tree", "/switch main", "/edit", "/x")
    assert "fork main-2; main is as it was" in told
    tree = told.split("you> /tree")[1].split("you> /switch")[0]
    assert "main + *main-2" in tree and "other" in tree and "second" in tree
    assert "as in: /edit 1\n    1  first\n    2  second" in told


def test_an_edit_that_is_not_kept_leaves_no_fork(deeds: Deeds) -> None:
    deeds.say("hello")
    deeds.chat.edit(1, "x" * 9000)  # beyond the model's context
    assert (deeds.chat.fork.name, deeds.chat.forks.names) == ("main", ["main"])


def test_what_is_wrong_with_a_command_is_told(deeds: Deeds) -> None:
    for entry, message in {
        "/dosc": "did you mean '/docs'",
        "/docs": r"/docs needs more, as in: /docs FILE",
        "/undo 3": "takes nothing after it",
        "/switch mian": "did you mean 'main'",
        "/fork main": "already; /switch main goes there",
        "/fork a b": "is no name",
        "/edit 1": "nothing was said yet",
        "/why": "no run here yet",
        "/race": "no run here yet",
        "/race fast": "/race stop gives it up",
        "/race stop": "no race is running",
        "/load nowhere": "there is no such file",
    }.items():
        with pytest.raises(InputError, match=message):
            deeds.commands.do(entry)


def test_every_command_is_in_the_help(tiny: Tiny, deeds: Deeds) -> None:
    told = talk(tiny, "/help")
    assert all(str(command) in told for command in deeds.commands.table.values())


def test_why_shows_distribution_and_activated_span(tiny: Tiny) -> None:
    told = talk(tiny, "hello", "/why").split("/why")[1]
    assert "acted on the last 6:\n    <|im_start|>mood\\n" in told
    assert "<|im_start|>right\\n" in told
    assert sorted(w for w in told.split() if w in ("bad", "good")) == ["bad", "good"]


def test_a_saved_chat_goes_on_as_if_it_had_not_ended(tiny: Tiny, tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    whole = talk(tiny, "hello", "/fork b", "there", "/switch main", f"/save {file}", "more")
    resumed = talk(tiny, f"/load {file}", "more", "/switch b", "/undo", "/undo", chain="long.yaml")
    assert "loaded" in resumed and "2 forks" in resumed and "tokenised anew" not in resumed
    assert reply(resumed, "more") == reply(whole, "more")
    assert resumed.count("rolled back") == 2
    assert not [path for path in tmp_path.iterdir() if path != file], "nothing else is left"


def test_documents_laid_before_a_question_stay_so_in_a_saved_chat(
    deeds: Deeds, tmp_path: Path
) -> None:
    said = deeds.chat.conversation
    said.add("user", "where?")
    said.add_documents([Document(id="a", text="here")])
    save(tmp_path / "chat.json", deeds.chat.engine, [deeds.chat.fork], deeds.chat.fork)
    [fork], _, _ = load(tmp_path / "chat.json", deeds.chat.engine)
    assert fork.conversation.since(0) == said.since(0) and said.since(0)[-2].ahead


def reply(told: str, entry: str) -> str:
    return told.split(f"you> {entry}\n")[1].split("reused")[0]


def test_another_model_reads_a_saved_chat_anew(tiny: Tiny, tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    talk(tiny, "hello", f"/save {file}")
    data = json.loads(file.read_text())
    data["model"] = "0" * 16
    file.write_text(json.dumps(data))
    told = talk(tiny, f"/load {file}", "more")
    assert "2 messages tokenised anew: saved with another model" in told and "mood" in told


def test_ids_that_are_not_the_text_are_not_believed(tiny: Tiny, tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    talk(tiny, "hello", f"/save {file}")
    data = json.loads(file.read_text())
    entry = data["forks"][0]["entries"][0]
    entry["ids"] += [257, 100, 258]  # a message that no text shows
    file.write_text(json.dumps(data))
    forks, _, anew = load(file, tiny.engine)
    assert anew == 1 and forks[0].conversation.entries[0][1] == tuple(entry["ids"][:-3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: "{", "no saved chat"),
        (lambda data: json.dumps({**data, "version": 9}), "version"),
        (lambda data: json.dumps({**data, "current": "x"}), "has no fork 'x'"),
        (lambda data: json.dumps({**data, "forks": []}), "no saved chat"),
    ],
)
def test_a_file_that_is_no_saved_chat_changes_nothing(
    deeds: Deeds, tmp_path: Path, change: Callable[[dict[str, object]], str], message: str
) -> None:
    deeds.say("hello")
    file = tmp_path / "chat.json"
    deeds.commands.do(f"/save {file}")
    file.write_text(change(json.loads(file.read_text())))
    before = ids(deeds)
    with pytest.raises(InputError, match=message):
        deeds.commands.do(f"/load {file}")
    assert ids(deeds) == before and deeds.chat.forks.names == ["main"]


def test_a_save_is_whole_or_not_at_all(
    deeds: Deeds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "chat.json"
    deeds.commands.do(f"/save {file}")
    before = file.read_bytes()
    deeds.say("hello")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        deeds.commands.do(f"/save {file}")
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


def test_a_save_does_not_replace_what_is_no_chat(deeds: Deeds, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="no saved chat; give another name"):
        save(tmp_path / "thesis.txt", deeds.chat.engine, [deeds.chat.fork], deeds.chat.fork)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("name", ["~nobody-here/x", "a\0b", "x" * 300, "nowhere/x", "."])
def test_a_name_that_is_no_file_is_told(deeds: Deeds, name: str) -> None:
    with pytest.raises(OutputError):
        deeds.commands.do(f"/save {name}")
    with pytest.raises(InputError):
        deeds.commands.do(f"/load {name}")


def test_a_save_goes_through_a_link(deeds: Deeds, tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    deeds.commands.do(f"/save {tmp_path / 'link.json'}")
    deeds.commands.do(f"/save {tmp_path / 'link.json'}")
    assert (tmp_path / "link.json").is_symlink() and (tmp_path / "real.json").is_file()


@pytest.mark.parametrize("entries", [["tell"], ["hello", "/chain LONG", "/edit 1", "tell"]])
def test_ctrl_c_stops_a_turn_and_no_generation_goes_on(tiny: Tiny, entries: list[str]) -> None:
    out, long = io.StringIO(), str(tiny.folder / "long.yaml")
    chain = long if len(entries) == 1 else str(tiny.folder / "chat.yaml")
    lines = "\n".join([*entries, "/tree", ""]).replace("LONG", long)
    settings = Settings(tiny.folder / "state", chain)
    session = Session(tiny.engine, settings, io.StringIO(lines), out)

    def press() -> None:
        while "mood" not in out.getvalue().partition("tell")[2]:  # the reply has begun
            time.sleep(0.02)
        for _ in range(20):  # somebody holds the keys down
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.005)

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # what comes after the session's end
    thread = threading.Thread(target=press)
    thread.start()
    session.talk()
    thread.join()
    signal.signal(signal.SIGINT, before)
    assert "stopped; nothing of this turn was kept" in out.getvalue()
    assert "you> /tree" in out.getvalue(), "the session goes on"
    check_integrity(tiny.engine)  # waits until no request is left
    forwards = tiny.engine.stats().forwards
    time.sleep(0.3)
    assert tiny.engine.stats().forwards == forwards
    kept = [turn.text for turn in session.chat.fork.turns]
    assert (kept, session.chat.forks.names) == (["hello"][: len(entries) - 1], ["main"])


def test_what_a_model_writes_cannot_steer_the_terminal(tiny: Tiny) -> None:
    told = talk(tiny, "hello", "/tree", "/why", "/trace", chain="long.yaml")
    assert not [c for c in told if ord(c) < 32 and c not in "\n\t"]
