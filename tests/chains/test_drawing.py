"""What is drawn is what runs: every format is read back and compared with the model's edges."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from html import unescape
from itertools import pairwise
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from chains import Chain
from chains.cli import main
from chains.drawing import ascii_art, dot, layout, mermaid, picture, svg
from chains.drawing.layout import Layout, Point
from chains.expression import Compare, Constant, Ref
from chains.model import ChainModel, Check, Edge, Function, Guard, Node, Say, Turn
from drawn_ascii import Drawn

Arrows: TypeAlias = Counter[tuple[str, str, str]]
HOSTILE = "a\"b'<script>&amp; |x| `#35;` \\ ]] }}"


@st.composite
def models(draw: st.DrawFn) -> ChainModel:
    """Any flow over a few nodes: several arrows between two, loops on one, long labels."""
    names = [f"n{i}" for i in range(draw(st.integers(1, 9)))]
    kinds: list[Node] = [Say(text="x"), Function(call="m:f"), Check(intrinsics={"a": {}, "b": {}})]
    flow = [Edge(source="start", target=draw(st.sampled_from(names)))]
    for i, name in enumerate(names):
        for _ in range(draw(st.integers(0, 3))):
            at = draw(st.integers(0, len(names)))
            later = draw(st.sampled_from([*names[i + 1 :], "end"]))
            words = "v" * draw(st.integers(1, 40))
            back = at <= i
            flow.append(
                Edge(
                    source=name,
                    target=[*names, "end"][at],
                    when=Compare(Ref((name, words)), "<", Constant(0.5)),
                    at_most=draw(st.integers(1, 9)) if back else None,
                    then=later if back else None,
                )
            )
        flow.append(Edge(source=name, target=[*names, "end"][i + 1], otherwise=True))
    nodes = {name: draw(st.sampled_from(kinds)) for name in names}
    return ChainModel(name="drawn", nodes=nodes, flow=tuple(flow))


def arrows_of(model: ChainModel) -> Arrows:
    """What a run can do, read from the edges; labels without blanks, which wrapping changes."""
    found: Arrows = Counter()
    for edge in model.flow:
        found[edge.source, edge.target, squeezed(edge.label)] += 1
        if edge.then is not None:
            found[edge.source, edge.then, f"after{edge.at_most}"] += 1
    assert Counter((source, target) for source, target, _ in found.elements()) == Counter(
        model.hops()
    )
    return found


def squeezed(text: str) -> str:
    return "".join(text.split())


def read_mermaid(text: str) -> tuple[set[str], Arrows]:
    nodes = set(re.findall(r"^ +(\w+)[\[({]", text, re.MULTILINE))
    found = re.findall(r'^ +(\w+) -\.?->(?:\|"(.*)"\|)? (\w+)$', text, re.MULTILINE)
    assert len(nodes) + len(found) + 1 == len(text.splitlines())
    plain = [
        (source, target, unescape(re.sub(r"#(\d+);", r"&#\1;", label)))
        for source, label, target in found
    ]
    own = {node: node[:-1] if node.endswith("_") else node for node in nodes}
    return set(own.values()), Counter((own[a], own[b], squeezed(label)) for a, b, label in plain)


def read_dot(text: str) -> tuple[set[str], Arrows]:
    quoted = r'"((?:[^"\\]|\\.)*)"'
    nodes = set(re.findall(rf"^ +{quoted} \[shape", text, re.MULTILINE))
    found = re.findall(rf"^ +{quoted} -> {quoted}(?: \[(.*)\])?;$", text, re.MULTILINE)
    assert len(nodes) + len(found) + 2 == len(text.splitlines())
    arrows: Arrows = Counter()
    for source, target, marks in found:
        label = re.search(rf"label={quoted}", marks)
        arrows[source, target, squeezed(re.sub(r"\\(.)", r"\1", label[1] if label else ""))] += 1
    return nodes, arrows


SVG = "{http://www.w3.org/2000/svg}"


def read_svg(text: str) -> tuple[set[str], Arrows]:
    """Where the paths begin and end must be on the borders of the boxes that the edge names."""
    root = ET.fromstring(text)
    boxes: dict[str, tuple[float, ...]] = {}
    for node in root.iter(f"{SVG}g"):
        if (node.get("class") or "").split()[:1] == ["node"]:
            rect = next(node.iter(f"{SVG}rect"))
            boxes[node.get("data-name", "")] = tuple(
                float(rect.get(key, "nan")) for key in ("x", "y", "width", "height")
            )
    arrows: Arrows = Counter()
    for edge in root.iter(f"{SVG}g"):
        if (edge.get("class") or "").split()[:1] == ["edge"]:
            source, target = edge.get("data-source", ""), edge.get("data-target", "")
            head, *lines = sorted(edge.iter(f"{SVG}path"), key=lambda path: not path.get("class"))
            begin = numbers(lines[0])[:2]
            assert on_border(boxes[source], begin) and on_border(boxes[target], numbers(head)[:2])
            label = "".join(line.text or "" for line in edge.iter(f"{SVG}text"))
            arrows[source, target, squeezed(label)] += 1
    return set(boxes), arrows


def numbers(path: ET.Element) -> list[float]:
    return [float(one) for one in re.findall(r"-?[\d.]+", path.get("d", ""))]


def on_border(box: tuple[float, ...], point: list[float]) -> bool:
    x, y, width, height = box
    return x <= point[0] <= x + width and point[1] in (y, y + height)


def read_ascii(text: str) -> tuple[set[str], Arrows]:
    drawn = Drawn(text)
    return {name for name, *_ in drawn.boxes}, Counter(
        (source, target, squeezed(label)) for source, target, label in drawn.arrows()
    )


@settings(max_examples=60)
@given(models())
def test_every_drawing_is_the_graph_that_runs(model: ChainModel) -> None:
    nodes, arrows = {*model.nodes, "start", "end"}, arrows_of(model)
    drawn = picture(model)
    assert read_mermaid(mermaid(drawn)) == (nodes, arrows)
    assert read_dot(dot(drawn)) == (nodes, arrows)
    placed = layout(drawn)
    assert read_svg(svg(placed)) == (nodes, arrows)
    assert read_ascii(ascii_art(placed)) == (nodes, arrows)


@settings(max_examples=60)
@given(models())
def test_boxes_and_labels_lie_apart_and_lines_only_cross(model: ChainModel) -> None:
    placed = layout(picture(model))
    cells: Counter[Point] = Counter()
    for box in placed.boxes:
        cells.update((box.x + i, box.y + j) for i in range(box.width) for j in range(box.height))
    for arrow in placed.arrows:
        for row, line in enumerate(arrow.text, arrow.label[1]):
            left = arrow.label[0] - cell_len(line) // 2
            cells.update((left + i, row) for i in range(cell_len(line)))
    assert max(cells.values()) == 1
    assert all(0 <= x < placed.width and 0 <= y < placed.height for x, y in cells)
    for way in ((1, 0), (0, 1)):
        steps = Counter(steps_of(placed, way))
        assert not steps or max(steps.values()) == 1, "two lines lie on each other"


def steps_of(placed: Layout, way: Point) -> list[Point]:
    """Every cell that a line leaves to the right, or downwards."""
    found = []
    for arrow in placed.arrows:
        for line in arrow.lines:
            for (x, y), (to_x, to_y) in pairwise(line):
                assert x == to_x or y == to_y
                if (x != to_x) == bool(way[0]):
                    found += (
                        [(i, y) for i in range(min(x, to_x), max(x, to_x))]
                        if way[0]
                        else [(x, i) for i in range(min(y, to_y), max(y, to_y))]
                    )
    return found


def loop_of(size: int) -> ChainModel:
    """A chain of `size` nodes in which every fourth leads back."""
    nodes: dict[str, Node] = {f"node_{i}": Say(text="x") for i in range(size)}
    names = [*nodes, "end"]
    flow = [Edge(source="start", target=names[0])]
    for i, name in enumerate(names[:-1]):
        if i % 4 == 3:
            when = Compare(Ref((name, "value")), "<", Constant(0.5))
            after = names[min(i + 5, size)]
            flow.append(Edge(source=name, target=names[i - 3], when=when, at_most=2, then=after))
        flow.append(Edge(source=name, target=names[i + 1], otherwise=i % 4 == 3))
    return ChainModel(name="long", nodes=nodes, flow=tuple(flow))


def test_sixty_nodes_are_drawn_with_all_their_loops() -> None:
    model = loop_of(60)
    drawn = picture(model)
    assert sum(arrow.back for arrow in drawn.arrows) == 15
    placed = layout(drawn)
    assert read_ascii(ascii_art(placed)) == ({*model.nodes, "start", "end"}, arrows_of(model))
    assert placed.width <= 120
    assert "stroke-dasharray" in svg(placed) and svg(placed).count('class="edge back"') == 15


def test_a_chain_longer_than_pythons_stack_is_drawn() -> None:
    assert ascii_art(layout(picture(loop_of(1200)))).count("node_") >= 1200


def test_what_closes_a_loop_is_marked_in_every_format() -> None:
    drawn = picture(loop_of(4))
    assert [(one.source, one.target) for one in drawn.arrows if one.back] == [("node_3", "node_0")]
    assert 'node_3 -.->|"node_3.value &lt; 0.5, at most 2"| node_0' in mermaid(drawn)
    assert '"node_3" -> "node_0" [label="node_3.value < 0.5, at most 2", style=dashed]' in dot(
        drawn
    )
    assert "┆" in ascii_art(layout(drawn)) and "▲" in ascii_art(layout(drawn))


def test_plain_is_ascii_and_shows_the_same() -> None:
    placed = layout(picture(loop_of(4)))
    plain = ascii_art(placed, plain=True)
    assert plain.isascii() and len(plain.splitlines()) == placed.height
    assert "node_3.value < 0.5, at most 2" in plain


def hostile() -> ChainModel:
    when = Compare(Ref(("graph", "text")), "==", Constant(HOSTILE))
    flow = (
        Edge(source="start", target="graph"),
        Edge(source="graph", target="style", when=when),
        Edge(source="graph", target="end", otherwise=True),
        Edge(source="style", target="end"),
    )
    nodes: dict[str, Node] = {"graph": Say(text="x"), "style": Say(text="y")}
    return ChainModel(name="hostile", nodes=nodes, flow=flow)


def test_texts_stay_texts_and_words_of_mermaid_are_no_ids() -> None:
    model = hostile()
    expected = {"graph", "style", "start", "end"}, arrows_of(model)
    drawn = picture(model)
    assert read_mermaid(mermaid(drawn)) == expected
    assert read_dot(dot(drawn)) == expected
    assert read_svg(svg(layout(drawn))) == expected
    assert "<script>" not in svg(layout(drawn)) and "<script>" not in mermaid(drawn)


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_our_dot() -> None:
    done = subprocess.run(
        ["dot", "-Tplain"], input=dot(picture(hostile())), capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.count("\nedge ") == 4, done.stderr


def test_wide_characters_take_two_cells() -> None:
    nodes: dict[str, Node] = {"問い": Say(text="x")}
    flow = (Edge(source="start", target="問い"), Edge(source="問い", target="end"))
    lines = ascii_art(layout(picture(ChainModel(name="w", nodes=nodes, flow=flow)))).splitlines()
    at = next(i for i, line in enumerate(lines) if "問い" in line)
    assert cell_len(lines[at]) == cell_len(lines[at - 1])


@pytest.mark.parametrize("name", ["guarded_chat", "guarded_rag"])
def test_a_shipped_chain_fits_a_terminal(name: str) -> None:
    chain = Chain.load(name)
    assert max(map(cell_len, chain.ascii().splitlines())) <= 80
    assert read_ascii(chain.ascii())[1] == arrows_of(chain.model)
    assert read_svg(chain.svg())[1] == arrows_of(chain.model)


@pytest.mark.parametrize(
    ("form", "of"), [("mermaid", Chain.mermaid), ("dot", Chain.dot), ("svg", Chain.svg)]
)
def test_the_command_prints_what_the_chain_draws(
    form: str, of: Callable[[Chain], str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["graph", "guarded_chat", "--format", form])
    assert caught.value.code == 0
    assert capsys.readouterr().out == of(Chain.load("guarded_chat"))


@pytest.mark.parametrize(("encoding", "corner"), [("utf-8", "╭"), ("ascii", ".")])
def test_a_terminal_gets_the_characters_it_can_show(encoding: str, corner: str) -> None:
    command = [sys.executable, "-c", "from chains.cli import main; main()"]
    done = subprocess.run(
        [*command, "graph", "guarded_chat", "--format", "ascii"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 0 and done.stdout.decode(encoding).strip().startswith(corner)


def test_a_box_names_the_guards_of_its_node() -> None:
    guards = tuple(Guard(at="input", check=one, label="x", then="refuse") for one in "ab")
    flow = (Edge(source="start", target="reply"), Edge(source="reply", target="end"))
    model = ChainModel(name="guarded", nodes={"reply": Turn(guards=guards)}, flow=flow)
    assert picture(model).boxes[1].detail == "turn, guarded by a, b"
