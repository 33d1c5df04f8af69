"""A shipped chain as a stream of events: tokens, verdicts, edges taken and what each cost."""

import asyncio

from chains import Chain, RunInput
from intrinsics import Engine, Message


async def main() -> None:
    engine, chain = Engine.load(), Chain.load("guarded_chat")
    given = RunInput(messages=(Message(role="user", content="What is the capital of France?"),))
    async for event in chain.stream(engine, given):
        match event.event:
            case "token":
                print(event.text, end="", flush=True)
            case "verdict":
                reused, computed = event.ledger["reused"], event.ledger["computed"]
                print(f"\n{event.intrinsic} {event.value}: reused {reused}, computed {computed}")
            case "edge_taken":
                print(f"\n{event.source} -> {event.target}  {event.condition or ''}")
            case "run_finished":
                print(dict(event.ledger))


if __name__ == "__main__":
    asyncio.run(main())
