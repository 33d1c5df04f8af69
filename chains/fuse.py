"""The planner: neighbouring checks that read the same prefix run in one fan-out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from intrinsics.template import Template

from .model import LIMITS, Check

if TYPE_CHECKING:
    from .plan import Plan


def fused_with(plan: Plan, name: str) -> tuple[str, ...]:
    """The check nodes that follow `name` in any case and can be judged together with it.

    A check writes no message, so the next one reads the same prefix. It can't be fused if an
    argument of it reads an earlier verdict, if an intrinsic would be asked twice, or if it has a
    limit or an error edge of its own.
    """
    nodes = plan.model.nodes
    node = nodes[name]
    if not isinstance(node, Check):
        return ()
    group: list[str] = []
    asked, here = set(node.intrinsics), name
    while True:
        exits = plan.exits[here]
        follower = nodes.get(exits[0].edge.target) if len(exits) == 1 else None
        if not isinstance(follower, Check) or exits[0].edge.at_most is not None:
            break
        limited = any(getattr(follower, limit) is not None for limit in LIMITS)
        if limited or plan.failing[here] or plan.failing[exits[0].edge.target]:
            break
        here = exits[0].edge.target
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
