"""Any chain replayed from any node it came to, or forked after any record, ends as it did."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import given as cases
from hypothesis import strategies as st

from chains import Chain
from chains.entries import FINISHED
from chains.events import NodeStarted
from chains.model import ChainModel
from chains.recorder import recorded, resumed
from chains.replay import replayed
from chains.store import Store
from chains.tracing.record import told as events_of
from drawn import Nowhere, flows
from flows import HELLO
from intrinsics.catalogue import Catalogue
from recording import play, races, steady, told


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@cases(flows(), st.booleans(), st.booleans(), st.floats(0, 1))
def test_any_chain_from_anywhere_comes_to_the_same_end(
    tmp_path_factory: pytest.TempPathFactory,
    model: ChainModel,
    heads: bool,
    broken: bool,
    share: float,
) -> None:
    assume(not races(model))
    chain = Chain(model, Nowhere(), Catalogue(), steady(heads, broken))
    with Store.open(tmp_path_factory.mktemp("runs") / "runs.db") as store:
        with recorded(store, chain, HELLO) as recorder:
            first = play(chain, recorder)
        run_id = recorder.run_id
        records = store.records(run_id)
        path = list(dict.fromkeys(one.node for one in records if one.node and not one.branch))
        node = path[int(share * (len(path) - 1))]
        with replayed(store, run_id, chain, node) as recorder:
            assert told(play(chain, recorder)) == told(first)
        info = store.run(recorder.run_id)
        assert info.forked_at is not None
        past = records[: info.forked_at]
        shared = [(one.branch, one.node) for one in past if one.kind == FINISHED]
        assert ("", node) not in shared  # a sub-chain may have a node of that name
        assert _began(store, recorder.run_id) == _began(store, run_id)
        fork = store.fork(run_id, int(share * len(records)))
        with resumed(store, fork, chain) as recorder:
            assert told(play(chain, recorder)) == told(first)
        assert store.check() == []


def _began(store: Store, run_id: str) -> list[tuple[str, int]]:
    """The chain's own nodes as they began, as the record tells it."""
    events, _ = events_of(store, run_id)
    started = (one for one in events if isinstance(one, NodeStarted) and not one.branch)
    return [(one.node, one.attempt) for one in started]
