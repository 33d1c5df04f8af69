"""`chains bench`: measured comparisons, each in one process run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from .common import JsonOption, loading_bar, print_json, quieten

group = typer.Typer(no_args_is_help=True, help="Measure against PEFT and transformers.")

RepetitionsOption = Annotated[int, typer.Option(help="Of each measurement.")]
TokensOption = Annotated[int, typer.Option(help="New tokens of each reply.")]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.add_typer(group, name="bench")


@group.callback()
def _bench() -> None:
    """Measure against PEFT and transformers, each comparison in one process run."""


@group.command(epilog="Example: chains bench decode --tokens 64 --context 50 --context 512 --json")
def decode(
    tokens: TokensOption = 64,
    context: Annotated[
        list[int] | None,
        typer.Option(help="Tokens of the prompt; repeatable. [default: 50, 512, 2048]"),
    ] = None,
    repetitions: RepetitionsOption = 5,
    as_json: JsonOption = False,
) -> None:
    """Time one reply a token, beside transformers and a read of all weights."""
    quieten()
    from ..bench.decode import CONTEXTS, run

    with loading_bar() as bar:
        found = run(tokens, context or CONTEXTS, repetitions, bar)
    if as_json:
        print_json(found)
        return
    _table(
        ("tokens of context", "ours, tokens/s", "transformers, tokens/s", "ratio", "same output"),
        [
            (
                f"{point['context']:,}",
                *(f"{speed:.1f}" for speed in point["tokens_per_second"].values()),
                f"{point['ratio_to_transformers']:.2f}",
                _yes(point["same_output"]),
            )
            for point in found["curve"]
        ],
        f"a forward takes {found['ratio_to_memory_read']:.2f} x a read of all float32 weights; a "
        f"watcher every 24 tokens adds {found['watcher_overhead']:.0%}",
    )


@group.command(
    epilog="Example: chains bench concurrency --conversations 16 --context 200 --tokens 64 --json"
)
def concurrency(
    conversations: Annotated[int, typer.Option(help="Asked at once.")] = 16,
    context: Annotated[int, typer.Option(help="Tokens of each before its reply.")] = 200,
    tokens: TokensOption = 64,
    repetitions: RepetitionsOption = 5,
    as_json: JsonOption = False,
) -> None:
    """Time guarded conversations one after another and all at once."""
    quieten()
    from ..bench.concurrency import run

    with loading_bar() as bar:
        found = run(conversations, context, tokens, repetitions, bar)
    if as_json:
        print_json(found)
        return
    titles = ("one by one, s", "at once, s", "ratio", "p95 to first text, s", "same texts")
    _table(
        (f"{conversations} conversations", *titles),
        [
            (
                name.replace("_", " "),
                f"{told['seconds']['sequential']['median']:.2f}",
                f"{told['seconds']['concurrent']['median']:.2f}",
                f"{told['ratio_to_sequential']:.2f}",
                f"{told['p95_ttft_seconds']:.2f}",
                _yes(told["same_texts"]),
            )
            for name, told in found["settings"].items()
        ],
        f"transformers, the replies alone: {found['transformers_replies_alone_seconds']:.2f} s",
    )


@group.command(epilog="Example: chains bench flow --context 2000 --tokens 48 --json")
def flow(
    context: Annotated[int, typer.Option(help="Tokens of documents and first question.")] = 2000,
    tokens: TokensOption = 48,
    repetitions: RepetitionsOption = 3,
    as_json: JsonOption = False,
) -> None:
    """Time six intrinsic calls and two replies over documents, beside PEFT LoRA and aLoRA."""
    quieten()
    from ..bench.flow import STAGES, run

    with loading_bar() as bar:
        found = run(context, tokens, repetitions, bar)
    if as_json:
        print_json(found)
        return
    ours = found["seconds"]["ours"]["median"]
    _table(
        ("the whole flow", "seconds", *STAGES, "against ours"),
        [
            (
                name.replace("_", " "),
                f"{told['median']:.2f}",
                *(f"{found['stages'][name][stage]:.2f}" for stage in STAGES),
                f"{told['median'] / ours:.2f}",
            )
            for name, told in found["seconds"].items()
        ],
        f"the same labels from PEFT aLoRA: {_yes(found['same_labels'])}",
    )


@group.command(epilog="Example: chains bench guards --context 1024 --context 4096 --json")
def guards(
    context: Annotated[
        list[int] | None,
        typer.Option(help="Tokens before the question; repeatable. [default: 256, 1024, 4096]"),
    ] = None,
    tokens: TokensOption = 32,
    repetitions: RepetitionsOption = 5,
    as_json: JsonOption = False,
) -> None:
    """Time a guard on the input that runs beside the reply, and one that runs before it."""
    quieten()
    from ..bench.guards import CONTEXTS, run

    with loading_bar() as bar:
        found = run(context or CONTEXTS, tokens, repetitions, bar)
    if as_json:
        print_json(found)
        return
    _table(
        ("milliseconds", *found["curve"][0]["raw"]),
        [
            (
                f"{point['context']:,} tokens",
                *(f"{told['median'] * 1000:.0f}" for told in point["seconds"].values()),
            )
            for point in found["curve"]
        ],
        "passed: until the first text is shown; blocked: until the run is over",
    )


@group.command(epilog="Example: chains bench fanout --context 4096 --adapters 8 --json")
def fanout(
    context: Annotated[int, typer.Option(help="Tokens of the shared prefix.")] = 1024,
    adapters: Annotated[int, typer.Option(help="Intrinsics on it.")] = 8,
    repetitions: RepetitionsOption = 5,
    as_json: JsonOption = False,
) -> None:
    """Time many intrinsics on one prefix: in one forward, and as PEFT does it."""
    quieten()
    from ..bench.fanout import run

    with loading_bar() as bar:
        found = run(context, adapters, repetitions, bar)
    if as_json:
        print_json(found)
        return
    _table(
        (f"{adapters} intrinsics at {context} tokens", "seconds", "against ours"),
        [
            (
                name.removesuffix("_seconds").replace("_", " "),
                f"{found[name]:.3f}",
                f"{found[name] / found['ours_seconds']:.2f}",
            )
            for name in found["raw"]
        ],
    )


@group.command(epilog="Example: chains bench scaling --context 8192 --most 32 --out . --json")
def scaling(
    context: Annotated[int, typer.Option(help="The longest context of one check.")] = 8192,
    prefix: Annotated[int, typer.Option(help="Tokens below intrinsics and branches.")] = 2048,
    most: Annotated[int, typer.Option(help="Of intrinsics, conversations, branches.")] = 32,
    repetitions: RepetitionsOption = 3,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where scaling.png is written.")] = Path(
        "benchmarks/results"
    ),
    as_json: JsonOption = False,
) -> None:
    """Measure how costs grow with context, intrinsics, conversations, branches; draw it."""
    quieten()
    from ..bench.scaling import run

    with loading_bar() as bar:
        found = run(context, prefix, most, repetitions, out, bar)
    if as_json:
        print_json(found)
        return
    for name, points in found["curves"].items():
        _table(
            [name, *(side.replace("_", " ") for side in _sides(points[0]))],
            [(f"{at['size']:,}", *(f"{at[side]:,.4g}" for side in _sides(at))) for at in points],
        )
    typer.echo(f"written: {found['figure']}")


@group.command(epilog="Example: chains bench training --examples 64 --context 220 --json")
def training(
    examples: Annotated[int, typer.Option(help="Rows to train on.")] = 64,
    context: Annotated[int, typer.Option(help="Tokens of each row's document.")] = 220,
    repetitions: RepetitionsOption = 3,
    as_json: JsonOption = False,
) -> None:
    """Time the training of an adapter over three epochs, beside PEFT's of the same one."""
    quieten()
    from ..bench.training import run

    with loading_bar() as bar:
        found = run(examples, context, repetitions, bar)
    if as_json:
        print_json(found)
        return
    ours = found["seconds"]["ours"]["median"]
    _table(
        (f"{examples} rows, {found['epochs']} epochs", "seconds", "against ours"),
        [
            (name, f"{told['median']:.1f}", f"{told['median'] / ours:.2f}")
            for name, told in found["seconds"].items()
        ],
        f"losses differ by at most {found['max_loss_difference']:.1g} "
        f"({found['max_loss_difference_float16']:.1g} with prefixes in float16), gradients by "
        f"{found['max_gradient_difference']:.1g} of {found['max_gradient']:.2g}",
    )


@group.command(epilog="Example: chains bench soak --conversations 2000 --threads 8 --json")
def soak(
    conversations: Annotated[int, typer.Option(help="Lived through and dropped.")] = 2000,
    threads: Annotated[int, typer.Option(help="Of them at once.")] = 8,
    seed: Annotated[int, typer.Option(help="The same seed does the same.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Live through conversations that fork, roll back and are cut off; tell what is left."""
    quieten()
    from ..bench.soak import run

    with loading_bar() as bar:
        found = run(conversations, threads, seed, bar)
    if as_json:
        print_json(found)
        return
    _table(
        ("conversations", "KV bytes left", "process, MB"),
        [
            (
                f"{at['conversations']:,}",
                f"{at['kv_bytes']:,}",
                f"{at['rss_bytes'] / 1e6:,.1f}",
            )
            for at in found["raw"]
        ],
        f"KV bytes before the first: {found['kv_bytes_start']:,}; the process grew by "
        f"{found['rss_growth_bytes'] / 1e6:,.1f} MB since it was warm",
    )


@group.command(
    epilog="Example: chains bench overhead --nodes 100 --peers-python peers/bin/python --json"
)
def overhead(
    nodes: Annotated[
        list[int] | None,
        typer.Option(help="Of a chain; repeatable. [default: 10, 100, 1000]"),
    ] = None,
    repetitions: RepetitionsOption = 5,
    peers_python: Annotated[
        str | None,
        typer.Option(metavar="PYTHON", help="Has peers installed. [default: this one]"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Time what a node costs beside its work, beside LangGraph, Burr and others."""
    quieten()
    from ..bench.overhead import SIZES, figures, run

    with loading_bar() as bar:
        found = run(nodes or SIZES, repetitions, peers_python, bar)
    if as_json:
        print_json(found)
        return
    for kind, title in (("us_per_node", "plain"), ("us_per_node_recorded", "recorded")):
        _table(
            (f"{title}, µs a node", *found["versions"]),
            [
                (
                    f"{point['nodes']:,} nodes",
                    *("-" if us is None else f"{us:,.0f}" for us in figures(point, kind).values()),
                )
                for point in found["curve"]
            ],
        )


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], below: str = "") -> None:
    """Print rows under their titles, and a sentence below them."""
    table = Table(box=None, pad_edge=False, header_style="bright_black")
    for title in titles:
        table.add_column(title)
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    console.print(table)
    if below:
        console.print(below)


def _sides(point: Mapping[str, Any]) -> list[str]:
    return [name for name in point if name not in ("size", "raw")]


def _yes(answer: bool) -> str:
    return "yes" if answer else "NO"
