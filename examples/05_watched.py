"""A reply that is judged while it is written: doubtful text is rolled back and sampled again."""

from intrinsics import Engine, Message, Sampling, Watch, Watcher
from intrinsics.errors import Guarded


def main() -> None:
    engine = Engine.load()
    watch = Watch(
        (Watcher("certainty", label="incorrect", above=0.9, then="again"),), every=12, tries=6
    )
    for question in ("What is the capital of France?", "Which planet is closest to the sun?"):
        conversation = engine.conversation([Message(role="user", content=question)])
        print(question)
        try:
            reply = engine.generate(
                conversation, Sampling(max_tokens=36, temperature=0.8, seed=1), watch
            )
        except Guarded as error:  # the conversation is as it was before
            print(f"  no reply: {error}")
            continue
        for look in reply.checks:
            doubt = look.verdict.p("incorrect")
            print(f"  {look.tokens:>3} tokens: {doubt:.2f} {'again' if look.tripped else 'good'}")
        print(f"  {reply.text.strip()} ({reply.finish})")


if __name__ == "__main__":
    main()
