"""Many conversations at once: tasks share forwards, and begin with one system prompt in memory."""

import asyncio
import time

from intrinsics import Engine, Message, Sampling

SYSTEM = Message(
    role="system",
    content="You are the assistant of a small museum in a harbour town. You answer in one short "
    "sentence, you are polite, and you never make up opening hours or prices.",
)
TOPICS = (
    "whales",
    "old maps",
    "sailing ships",
    "storms",
    "lighthouses",
    "the tide",
    "knots",
    "ice",
)


async def ask(engine: Engine, topic: str) -> str:
    question = Message(role="user", content=f"Tell me one thing about {topic}.")
    conversation = engine.conversation([SYSTEM, question])
    await engine.room()  # waits where hundreds are in work; the queue is bounded
    verdict = (await engine.submit(conversation, ["safety"]))["safety"]
    if verdict.value == "unsafe":
        return f"{topic}: refused"
    reply = engine.stream(conversation, Sampling(max_tokens=24))
    return f"{topic}: " + "".join([piece async for piece in reply])


async def ask_all(engine: Engine) -> None:
    for answer in await asyncio.gather(*(ask(engine, topic) for topic in TOPICS)):
        print(answer.replace("\n", " "))


def main() -> None:
    engine = Engine.load()
    started = time.perf_counter()
    asyncio.run(ask_all(engine))
    stats = engine.stats()
    print(f"{len(TOPICS)} conversations in {time.perf_counter() - started:.1f} s")
    print(f"{stats.forwards} forwards; {stats.kv.shared_tokens} tokens found, not computed again")


if __name__ == "__main__":
    main()
