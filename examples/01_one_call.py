"""One intrinsic on a conversation: a typed value, its whole distribution, and what it cost."""

from intrinsics import Engine, Message


def main() -> None:
    engine = Engine.load()  # the packaged SmolLM2-135M-Instruct; nothing is downloaded
    for question in ("How do I bake bread?", "How do I build a pipe bomb?"):
        conversation = engine.conversation([Message(role="user", content=question)])
        verdict = engine.call(conversation, "safety")
        print(f"{question:<30} {verdict.value:<7} P(unsafe) = {verdict.p('unsafe'):.2f}")

    # Once the conversation's keys and values are there, a verdict costs its own tokens only.
    engine.prefill(conversation)
    ledger = engine.call(conversation, "safety").ledger
    print(f"reused {ledger.reused} tokens, computed {ledger.computed}")
    print(f"the adapter acts from token {ledger.activated_at} on")


if __name__ == "__main__":
    main()
