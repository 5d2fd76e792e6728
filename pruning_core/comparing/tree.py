"""How finished runs descend from each other: dense, pruned, fine-tuned, int8, and forks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pruning_core.comparing.variant import Stage, Variant

COLUMNS: Final[tuple[Stage, ...]] = ("dense", "pruned", "tuned", "int8")


@dataclass(frozen=True, slots=True)
class Entry:
    """A finished run as the tree takes it.

    Attributes:
        run: Its name.
        model: Identity of the dense network, with the digest of its weights.
        parent: The run it was forked from; empty otherwise.
        variants: Its networks, see :func:`pruning_core.comparing.variant.variants_of`.
    """

    run: str
    model: str
    parent: str
    variants: tuple[Variant, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One network in the tree.

    Attributes:
        variant: The network; the dense one of several runs is that of the first.
        row: Counted from the top; every run has one of its own.
        column: Place in ``COLUMNS``.
        parent: Place of the network it was made from; None for a dense one.
    """

    variant: Variant
    row: int
    column: int
    parent: int | None


def tree(entries: Sequence[Entry]) -> tuple[Node, ...]:
    """Return the networks of all runs; a fork stands below the run it was forked from.

    A fork shares the pruned network of its parent: it goes on from an epoch of its fine-tuning. One
    whose parent is not listed stands like a run of its own.

    Args:
        entries: In the order in which they are listed.
    """
    nodes: list[Node] = []
    pruned: dict[str, int] = {}
    listed = {entry.run for entry in entries}
    row = 0
    for model in dict.fromkeys(entry.model for entry in entries):
        own = [entry for entry in entries if entry.model == model]
        dense = len(nodes)
        nodes.append(Node(own[0].variants[0], row, 0, None))
        for entry in _in_order(own, listed):
            known = pruned.get(entry.parent)
            is_fork = known is not None and any(one.stage == "tuned" for one in entry.variants)
            last = known if is_fork and known is not None else dense
            for variant in entry.variants[2 if is_fork else 1 :]:
                nodes.append(Node(variant, row, COLUMNS.index(variant.stage), last))
                last = len(nodes) - 1
                if variant.stage == "pruned":
                    pruned[entry.run] = last
            if is_fork and known is not None:
                pruned[entry.run] = known
            row += 1
    return tuple(nodes)


def _in_order(entries: Sequence[Entry], listed: set[str]) -> list[Entry]:
    """Return the entries, each followed by its forks."""
    found: list[Entry] = []
    pending = [entry for entry in reversed(entries) if entry.parent not in listed]
    while pending:
        entry = pending.pop()
        found.append(entry)
        pending += [other for other in reversed(entries) if other.parent == entry.run]
    return found
