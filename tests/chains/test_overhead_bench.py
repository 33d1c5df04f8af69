"""`chains bench overhead`: our own side, the requests, and what it tells without a peer."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from chains.bench import overhead
from chains.bench.overhead_ours import chain_of, ours
from chains.bench.overhead_peers import PEERS, Framework, seconds_of, serve
from chains.cli import main
from chains.store import Store
from intrinsics.errors import RequestError

SIZES = ["--nodes", "5", "--nodes", "3", "--repetitions", "2"]
table = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "tables.py"))["overhead"]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no peer were installed."""
    monkeypatch.setattr(overhead, "installed", lambda python: [])


@pytest.mark.parametrize("nodes", [1, 4])
def test_each_of_our_nodes_adds_one(nodes: int) -> None:
    assert len(chain_of(nodes).model.nodes) == nodes
    run = ours(nodes, None)
    assert run() == run() == nodes
    assert seconds_of(run) > 0


def test_each_of_our_recorded_runs_is_recorded_whole(tmp_path: Path) -> None:
    run = ours(4, tmp_path / "runs.db")
    assert run() == run() == 4
    with Store.open(tmp_path / "runs.db") as store:
        runs = store.runs(status=["finished"])
        assert len(runs) == 2
        assert sum(record.kind == "node" for record in store.records(runs[0].run_id)) == 4


@pytest.mark.usefixtures("alone")
def test_the_command_tells_microseconds_a_node_and_their_spread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["bench", "overhead", *SIZES, "--json"])
    shown = capsys.readouterr()
    assert caught.value.code == 0, shown.err
    told: dict[str, Any] = json.loads(shown.out)
    assert [point["nodes"] for point in told["curve"]] == [3, 5]
    for kind in ("us_per_node", "us_per_node_recorded"):
        for point in told["curve"]:
            one = point[kind]["chains"]
            assert 0 < one["min"] <= one["median"] <= one["max"] and len(one["raw"]) == 2
        assert told[kind] == told["curve"][-1][kind]["chains"]["median"]
    assert told["peers"] == {}
    assert list(told["versions"]) == ["chains"] and told["machine"]["cores"] >= 1
    (tmp_path / "overhead.json").write_text(shown.out)
    rows = table(tmp_path).splitlines()
    assert len(rows) == 2 + 2 * 2 and {row.count("|") for row in rows} == {3}


@pytest.mark.usefixtures("alone")
def test_the_command_prints_a_table_each_of_plain_and_recorded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "overhead", *SIZES])
    shown = capsys.readouterr().out
    assert "plain, µs a node" in shown and "recorded, µs a node" in shown and "5 nodes" in shown


def test_a_point_has_the_median_of_every_framework_or_none() -> None:
    point = {"us_per_node_recorded": {"chains": {"median": 7.0}, "haystack": None}}
    assert overhead.figures(point, "us_per_node_recorded") == {"chains": 7.0, "haystack": None}


def test_peers_are_those_that_the_interpreter_has() -> None:
    assert set(overhead.installed(sys.executable)) <= set(PEERS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"peers_python": "/nowhere/python"}, "--peers-python /nowhere/python"),
        ({"sizes": (0, 10)}, "nodes = 0"),
        ({"repetitions": 0}, "repetitions = 0"),
    ],
)
def test_what_can_not_be_measured_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        overhead.run(**{"sizes": (3,), **given})


def test_a_peer_that_ends_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its own words stand on stderr."""
    monkeypatch.setattr(overhead, "installed", lambda python: ["no_such_peer"])
    with pytest.raises(RequestError, match="no_such_peer ended"):
        overhead.run((3,), 1)
    assert "KeyError: 'no_such_peer'" in capfd.readouterr().err


def test_a_run_that_counts_wrong_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", ['{"nodes": 3, "recorded": false}'])
    with pytest.raises(RuntimeError, match="3 nodes made 2 of 0"):
        serve(Framework("pytest", lambda nodes, record: lambda: 2))
