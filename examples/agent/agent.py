"""An agent with a tool, and a requirement check that repairs.

The model says what to look up; a reply that does not meet the requirements is taken back and
written again, told what was missing, three times at most. The best attempt remains.
"""

import sys

from pydantic import BaseModel

from chains import END, START, Definition, RunInput, function, say, turn
from intrinsics import Engine

SHOP = {"lantern": (4, 30), "rope": (1, 15), "compass": (12, 22), "sea chart": (0, 40)}


class Stock(BaseModel):
    item: str
    count: int
    price: int


def look_up(text: str) -> Stock:
    """The tool: what the shop has of the item that a text names."""
    found = [item for item in SHOP if item in text.lower()]
    if not found:
        raise LookupError(f"name one of {', '.join(SHOP)}")
    count, price = SHOP[found[0]]
    return Stock(item=found[0], count=count, price=price)


class Judged(BaseModel):
    met: int
    missing: str


def requirements(reply: str, stock: Stock) -> Judged:
    """How many of three requirements a reply meets, and which it does not, in words."""
    met = {
        f"the word {stock.item}": stock.item in reply.lower(),
        f"the number {stock.count}": str(stock.count) in reply,
        f"the price of {stock.price} euros": str(stock.price) in reply,
    }
    return Judged(met=sum(met.values()), missing=" and ".join(k for k, v in met.items() if not v))


class Agent(Definition):
    inputs = {"question": str}
    plan = turn('What is the noun in "{{ input.question }}"?', max_tokens=24, temperature=0.4)
    stock = function(look_up, text=plan.text)
    unable = say("I did not understand what you are looking for.")
    reply = turn(
        'Rewrite as a polite reply to a customer: "We have {{ stock.value.count }} '
        '{{ stock.value.item }} at {{ stock.value.price }} euros."'
        "{% if bar is defined %} Do not leave out {{ bar.value.missing }}.{% endif %}",
        max_tokens=40,
        temperature=0.4,
    )
    bar = function(requirements, reply=reply.text, stock=stock.value)
    flow = [
        START >> plan >> stock,
        stock.on_error("function").again(plan, at_most=3, then=unable),
        stock >> reply >> bar,
        bar.until(bar.value.field("met") == 3).again(
            reply, at_most=3, then=END, best=bar.value.field("met")
        ),
        unable >> END,
    ]


def main() -> None:
    question = " ".join(sys.argv[1:]) or "Is the sea chart of Visby still there?"
    result = Agent.chain().run(Engine.load(), RunInput(inputs={"question": question}))
    for node in result.nodes:
        print(f"{node.name:<6} {node.output}")
    print(f"\n{result.output}\n{dict(result.ledger)}")


if __name__ == "__main__":
    main()
