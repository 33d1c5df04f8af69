"""A chain in Python: typed nodes, conditions that are data, and the same chain as YAML."""

from chains import END, START, Definition, RunInput, check, say, turn
from intrinsics import Document, Engine, Message


class CarefulAnswer(Definition):
    system = "You answer questions from the documents, in one sentence."
    screen = check("safety", "answerability")
    refuse = say("I can't help with that.")
    unknown = say("The documents do not say.")
    reply = turn(max_tokens=60)
    sure = check("certainty")
    flow = (
        START >> screen,
        screen.when(screen["safety"].value == "unsafe") >> refuse >> END,
        screen.when(screen["answerability"].p("answerable") < 0.5) >> unknown >> END,
        screen.otherwise >> reply >> sure >> END,
    )


def main() -> None:
    chain = CarefulAnswer.chain()
    print(chain.to_yaml())
    engine = Engine.load()
    page = Document(id="a", text="The Harbour Library opened in 1931 and holds 84,000 books.")
    for text in ("How many books does the library hold?", "Who designed the roof of the library?"):
        given = RunInput(messages=(Message(role="user", content=text),), documents=(page,))
        result = chain.run(engine, given)
        path = " > ".join(node.name for node in result.nodes)
        print(f"{text}\n  {result.output}\n  {path}; {dict(result.ledger)}")


if __name__ == "__main__":
    main()
