"""Several intrinsics on one prefix in one forward, beside what ordinary LoRAs would compute."""

from intrinsics import Document, Engine, Message

NOTES = """The Harbour Library opened in 1931 and holds 84,000 books. It is closed on Mondays.
Readers may borrow ten books for four weeks. The reading room seats 120 people. """


def main() -> None:
    engine = Engine.load()
    conversation = engine.conversation(
        [Message(role="user", content="How many books does the Harbour Library hold?")],
        [Document(id=f"note {i}", text=NOTES) for i in range(1, 9)],
    )
    base = engine.prefill(conversation)
    print(f"base model: {base.computed} tokens prefilled once, in {base.seconds:.2f} s")

    found = engine.fan_out(conversation, ["safety", "answerability"])
    for verdict in found.verdicts:
        shares = ", ".join(f"{label} {p:.2f}" for label, p in verdict.distribution.items())
        print(f"{verdict.intrinsic:<14} {verdict.value:<11} ({shares})")

    computed, as_lora = found.ledger.computed, found.ledger.reused + found.ledger.computed
    print(f"{found.ledger.forwards} forward, {found.ledger.seconds:.2f} s")
    print(f"computed {computed} tokens; as LoRAs {as_lora}, {as_lora / computed:.0f} times more")


if __name__ == "__main__":
    main()
