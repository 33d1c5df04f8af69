"""Thousands of conversations that fork, roll back and are cut off, in many threads: what is left?

After everything was dropped and released the KV tree must hold as much as before the first one, and
the process must not have grown since it was warm.
"""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

from intrinsics.checkpoint import Progress
from intrinsics.conversation import Conversation
from intrinsics.engine import Engine
from intrinsics.errors import ConversationError
from intrinsics.messages import Document, Message
from intrinsics.sampling import Sampling

from .measure import Steps, check_sizes, clear, load, machine
from .texts import passage

WARM_SHARE = 0.05  # of the conversations, before the memory of the process counts
PHASES = 4  # after the warm-up; at the end of each everything is dropped and weighed
LONGEST_TOKENS, MOST_ACTIONS, REPLY_TOKENS = 160, 5, 6
BUDGET_BYTES = 512 << 20  # of keys and values, so that much is evicted on the way
_STATUS = Path("/proc/self/status")


def run(
    conversations: int = 2000,
    threads: int = 8,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Live through all conversations; the same seed does the same, but for who meets whom.

    Raises: RequestError: absurd sizes.
    """
    check_sizes(conversations=conversations, threads=threads)
    engine = load(progress, BUDGET_BYTES)
    for name in engine.catalogue.names():
        engine.intrinsic(name)
    started = time.perf_counter()
    start_bytes = _left(engine)
    steps = Steps(progress, "soaking", conversations)
    warm = min(conversations, max(1, round(conversations * WARM_SHARE)))
    ends = [warm + (conversations - warm) * phase // PHASES for phase in range(PHASES + 1)]
    done: Counter[str] = Counter()
    samples = []
    for first, end in zip([0, *ends], ends, strict=False):
        with ThreadPoolExecutor(threads) as pool:
            lives = [pool.submit(_life, engine, Random(f"{seed} {i}")) for i in range(first, end)]
            for life in lives:
                done.update(life.result())
                steps.done()
        del lives
        kv_bytes = _left(engine)
        samples.append({"conversations": end, "kv_bytes": kv_bytes, "rss_bytes": rss_bytes()})
    engine.model.tree.check_integrity()
    return {
        "conversations": conversations,
        "threads": threads,
        "seed": seed,
        "kv_bytes_start": start_bytes,
        "kv_bytes_end": samples[-1]["kv_bytes"],
        "rss_growth_bytes": samples[-1]["rss_bytes"] - samples[0]["rss_bytes"],
        "warm_conversations": warm,
        "kv_budget_bytes": BUDGET_BYTES,
        "evictions": engine.stats().kv.evictions,
        "done": dict(sorted(done.items())),
        "seconds": time.perf_counter() - started,
        "raw": samples,
        "machine": machine(),
    }


def _left(engine: Engine) -> int:
    """Bytes of keys and values that stay once nobody uses any."""
    gc.collect()
    while (stats := engine.stats()).active or stats.waiting:  # what was given up a moment ago
        time.sleep(0.001)
    clear(engine)
    return engine.kv_bytes


def rss_bytes() -> int:
    """Memory of this process that is resident; where the system does not say, the most it was."""
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    from resource import RUSAGE_SELF, getrusage  # not on every system
    from sys import platform

    most = getrusage(RUSAGE_SELF).ru_maxrss
    return most if platform == "darwin" else most * 1024


def _life(engine: Engine, random: Random) -> Counter[str]:
    """One conversation from its beginning until it is dropped, its forks too; what was done."""
    talks = [_begun(engine, random)]
    actions: dict[str, Callable[[Conversation], None]] = {
        "fork": lambda talk: talks.append(talk.fork()),
        "reply": lambda talk: _reply(engine, talk, random),
        "check": lambda talk: _check(engine, talk, random),
        "cancel": lambda talk: _cancel(engine, talk, random),
        "rollback": lambda talk: _roll_back(talk, random),
    }
    done = Counter({"conversations": 1})
    for _ in range(random.randint(1, MOST_ACTIONS)):
        name = random.choice(list(actions))
        actions[name](random.choice(talks))
        done[name] += 1
    return done


def _begun(engine: Engine, random: Random) -> Conversation:
    tokens, seed = random.randint(4, LONGEST_TOKENS), random.randrange(8)
    text = passage(engine.chat, tokens, seed)  # few seeds, so that some have a past in common
    question = Message(role="user", content=f"Tell me about {random.randrange(100)} towns.")
    if random.random() < 0.5:
        return engine.conversation([question], [Document(id="a", text=text)])
    return engine.conversation([Message(role="system", content=text), question])


def _asked(talk: Conversation, random: Random) -> None:
    """Let the conversation end with a question, so that it can be replied to."""
    if not talk.messages or talk.messages[-1].role != "user":
        talk.add("user", f"And what about {random.randrange(100)} others?")


def _reply(engine: Engine, talk: Conversation, random: Random) -> None:
    _asked(talk, random)
    sampling = Sampling(
        max_tokens=random.randint(1, REPLY_TOKENS),
        temperature=random.choice((0.0, 1.0)),
        seed=random.randrange(1000),
    )
    try:
        engine.generate(talk, sampling)
    except ConversationError:  # an empty reply, which so few tokens may be; nothing is kept of it
        return


def _check(engine: Engine, talk: Conversation, random: Random) -> None:
    last = talk.messages[-1].role if talk.messages else ""
    if last == "assistant":
        engine.fan_out(talk, ["certainty"])
        return
    _asked(talk, random)
    engine.fan_out(talk, ["safety", "answerability"] if talk.documents else ["safety"])


def _cancel(engine: Engine, talk: Conversation, random: Random) -> None:
    """Begin a reply and give it up after a few tokens; half of them are just dropped."""
    _asked(talk, random)
    generation = engine.stream(talk, Sampling(max_tokens=REPLY_TOKENS + 1))
    for _ in range(random.randrange(REPLY_TOKENS)):
        if next(generation, None) is None:
            return
    if random.random() < 0.5:
        generation.close()


def _roll_back(talk: Conversation, random: Random) -> None:
    talk.rollback(random.randint(0, len(talk.messages)))
