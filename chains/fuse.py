"""The planner: neighbouring checks that read the same prefix run in one fan-out."""

from __future__ import annotations

from intrinsics.template import Template

from .model import ChainModel, Check


def fused_with(model: ChainModel, name: str) -> tuple[str, ...]:
    """The check nodes that follow `name` in any case and can be judged together with it.

    A check writes no message, so the next one reads the same prefix. It can't be fused if an
    argument of it reads an earlier verdict, or if an intrinsic would be asked twice.
    """
    node = model.nodes[name]
    if not isinstance(node, Check):
        return ()
    group: list[str] = []
    asked, here = set(node.intrinsics), name
    while True:
        edges = model.leaving(here)
        follower = model.nodes.get(edges[0].target) if len(edges) == 1 else None
        if not isinstance(follower, Check) or edges[0].at_most is not None:
            break
        here = edges[0].target
        if here in (name, *group) or asked & set(follower.intrinsics):
            break
        if _reads(follower) & {name, *group}:
            break
        group.append(here)
        asked |= set(follower.intrinsics)
    return tuple(group)


def _reads(node: Check) -> set[str]:
    texts = (text for given in node.intrinsics.values() for text in given.values())
    return {path[0] for text in texts for path in Template(text).paths}
