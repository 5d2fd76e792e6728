"""Labels: which parameter indices the positions of a tensor stand for.

Every index of every parameter axis has a number (its label); 0 means fixed. Each tensor of the
traced graph carries, for each axis or joint block of axes, the labels of its positions. Operators
move labels, link two vectors of them, or lock them; what is linked can only leave together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

FIXED = 0
LabelArray = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Labels over one axis, or jointly over several: ``labels.shape`` = sizes of ``axes``.

    ``axes`` ascend. A joint block arises where a view splits or merges labelled axes.
    """

    axes: tuple[int, ...]
    labels: LabelArray

    @classmethod
    def ordered(cls, axes: Sequence[int], labels: LabelArray) -> "Block":
        """Return the block with its axes (and labels) brought into ascending order."""
        order = sorted(range(len(axes)), key=lambda position: axes[position])
        return cls(tuple(axes[position] for position in order), labels.transpose(order))


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A tensor of the graph as the analysis sees it: its shape, and a block for each axis."""

    shape: tuple[int, ...]
    blocks: tuple[Block, ...]

    @classmethod
    def fixed(cls, shape: Sequence[int]) -> "Labelled":
        """Return a tensor none of whose positions can leave."""
        return cls.of_axes([fixed(size) for size in shape])

    @classmethod
    def of_axes(cls, vectors: Sequence[LabelArray]) -> "Labelled":
        """Return a tensor whose axes carry ``vectors``."""
        blocks = tuple(Block((axis,), vector) for axis, vector in enumerate(vectors))
        return cls(tuple(len(vector) for vector in vectors), blocks)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def joint_blocks(self) -> tuple[Block, ...]:
        """The blocks that span several axes."""
        return tuple(block for block in self.blocks if len(block.axes) > 1)

    def permuted(self, order: Sequence[int]) -> "Labelled":
        """Return the tensor with axis ``order[i]`` at place ``i``."""
        place = {axis: position for position, axis in enumerate(order)}
        blocks = tuple(
            Block.ordered([place[axis] for axis in block.axes], block.labels)
            for block in self.blocks
        )
        return Labelled(tuple(self.shape[axis] for axis in order), blocks)

    def with_axis(self, axis: int) -> "Labelled":
        """Return the tensor with a new axis of size 1 before ``axis``."""
        moved = tuple(
            Block(tuple(old + (old >= axis) for old in block.axes), block.labels)
            for block in self.blocks
        )
        shape = (*self.shape[:axis], 1, *self.shape[axis:])
        return Labelled(shape, (*moved, Block((axis,), fixed(1))))


def fixed(size: int) -> LabelArray:
    """Return ``size`` labels that are all fixed."""
    return np.zeros(size, np.int32)


def split_constant_axes(axes: Sequence[int], labels: LabelArray) -> list[Block]:
    """Return blocks for ``axes``, with the axes along which the labels do not vary split off."""
    blocks: list[Block] = []
    remaining = list(axes)
    position = 0
    while position < labels.ndim and labels.ndim > 1:
        first = labels.take([0], axis=position)
        if (labels == first).all():
            blocks.append(Block((remaining.pop(position),), fixed(labels.shape[position])))
            labels = np.asarray(labels.take(0, axis=position))
        else:
            position += 1
    blocks.append(Block(tuple(remaining), labels))
    return blocks


class Links:
    """The link graph over labels, growing while the traced graph is walked.

    Attributes:
        n_labels: Labels handed out so far; label 0 is the fixed one.
        n_stored: Labels below this number belong to parameters and buffers.
        step: Index of the graph node being walked, kept with every link as its reason.
    """

    def __init__(self) -> None:
        """Start with the fixed label only."""
        self.n_labels = 1
        self.n_stored = 1
        self.step = 0
        self._edges: list[tuple[LabelArray, LabelArray, int]] = []
        self.renormalised: list[LabelArray] = []
        self.stacked: list[LabelArray] = []

    def fresh(self, size: int) -> LabelArray:
        """Return ``size`` new labels."""
        start = self.n_labels
        self.n_labels += size
        return np.arange(start, start + size, dtype=np.int32)

    def link(self, left: LabelArray, right: LabelArray) -> LabelArray:
        """Tie two equally shaped label arrays position by position; return one for both."""
        if left.shape != right.shape:
            raise ValueError(f"cannot link {left.shape} labels to {right.shape} labels")
        differ = left != right
        if differ.any():
            self._edges.append((left[differ], right[differ], self.step))
        return np.where(left != FIXED, left, right)

    def lock_labels(self, labels: LabelArray) -> None:
        """Make ``labels`` fixed: nothing tied to them can leave."""
        distinct = np.unique(labels)
        self.link(distinct, np.zeros_like(distinct))

    def lock(self, tensor: Labelled) -> None:
        """Lock every label of ``tensor``."""
        for block in tensor.blocks:
            self.lock_labels(block.labels)

    def couple_rows(self, labels: LabelArray) -> LabelArray:
        """Tie everything that shares an index of axis 0; return one label for each index."""
        rows = labels.reshape(labels.shape[0], -1)
        self.link(np.repeat(rows[:, :1], rows.shape[1], axis=1), rows)
        return rows[:, 0].copy()

    def worth(self, block: Block) -> tuple[bool, int]:
        """Return how much is lost when ``block`` is locked: stored indices first, then many."""
        stored = (block.labels > FIXED) & (block.labels < self.n_stored)
        return bool(stored.any()), len(np.unique(block.labels))

    def single_axes(self, block: Block) -> list[Block]:
        """Split a joint block into one block an axis, coupled along its outermost axis."""
        if len(block.axes) == 1:
            return [block]
        outer = Block(block.axes[:1], self.couple_rows(block.labels))
        inner = [
            Block((axis,), fixed(size))
            for axis, size in zip(block.axes[1:], block.labels.shape[1:], strict=True)
        ]
        return [outer, *inner]

    def axes(self, tensor: Labelled) -> list[LabelArray]:
        """Return a label vector for each axis; joint blocks are coupled along their first axis."""
        singles = [single for block in tensor.blocks for single in self.single_axes(block)]
        singles.sort(key=lambda block: block.axes)
        return [block.labels for block in singles]

    def edges(self) -> tuple[LabelArray, LabelArray, NDArray[np.int32]]:
        """Return all links as two label vectors and the step that made each."""
        if not self._edges:
            empty = np.zeros(0, np.int32)
            return empty, empty, empty
        left = np.concatenate([edge[0] for edge in self._edges])
        right = np.concatenate([edge[1] for edge in self._edges])
        sizes = [len(edge[0]) for edge in self._edges]
        return left, right, np.repeat(np.array([e[2] for e in self._edges], np.int32), sizes)


def reshape(links: Links, tensor: Labelled, shape: Sequence[int]) -> Labelled:
    """Carry labels through a view to ``shape`` (one size may be -1)."""
    target = _explicit(tensor.shape, shape)
    pairs = _axis_pairs(tensor.shape, target)
    pair_of = {axis: number for number, (sources, _) in enumerate(pairs) for axis in sources}
    blocks: list[Block] = []
    for block in tensor.blocks:
        crosses = len({pair_of[axis] for axis in block.axes}) > 1
        blocks += links.single_axes(block) if crosses else [block]
    result: list[Block] = []
    for number, (sources, outputs) in enumerate(pairs):
        live = [b for b in blocks if pair_of[b.axes[0]] == number and b.labels.any()]
        result += _move(
            links, live, [(a, tensor.shape[a]) for a in sources], [(a, target[a]) for a in outputs]
        )
    return Labelled(target, tuple(result))


def _move(
    links: Links, live: list[Block], sources: list[tuple[int, int]], outputs: list[tuple[int, int]]
) -> list[Block]:
    """Carry the labelled blocks of merged source axes over to the output axes they become."""
    live = sorted(live, key=links.worth, reverse=True)
    for block in live[1:]:
        links.lock_labels(block.labels)
    if live and not outputs:
        links.lock_labels(live[0].labels)
    if not live or not outputs:
        return [Block((axis,), fixed(size)) for axis, size in outputs]
    block = live[0]
    own = [size if axis in block.axes else 1 for axis, size in sources]
    joint = np.broadcast_to(block.labels.reshape(own), [size for _, size in sources])
    joint = joint.reshape([size for _, size in outputs])
    return split_constant_axes([axis for axis, _ in outputs], joint)


def _explicit(old: Sequence[int], new: Sequence[int]) -> tuple[int, ...]:
    known = prod(size for size in new if size != -1)
    return tuple(prod(old) // max(known, 1) if size == -1 else int(size) for size in new)


def _axis_pairs(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Return the smallest runs of old and new axes with equal products."""
    pairs: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        start_i, start_j = i, j
        left = right = 1
        if i < len(old):
            left, i = old[i], i + 1
        if j < len(new):
            right, j = new[j], j + 1
        while left != right:
            if left < right:
                left, i = left * old[i], i + 1
            else:
                right, j = right * new[j], j + 1
        pairs.append((list(range(start_i, i)), list(range(start_j, j))))
    return pairs


def pick(tensor: Labelled, axis: int, selection: "slice | LabelArray") -> Labelled:
    """Carry labels through taking part of ``axis`` (a slice or an index vector)."""
    blocks: list[Block] = []
    size = len(np.arange(tensor.shape[axis])[selection])
    for block in tensor.blocks:
        if axis not in block.axes:
            blocks.append(block)
            continue
        place = block.axes.index(axis)
        labels = block.labels[(slice(None),) * place + (selection,)]
        blocks += split_constant_axes(block.axes, labels)
    return Labelled((*tensor.shape[:axis], size, *tensor.shape[axis + 1 :]), tuple(blocks))


def pick_one(links: Links, tensor: Labelled, axis: int, index: int) -> Labelled:
    """Carry labels through ``select``: the axis disappears, and its index can no longer leave."""
    blocks: list[Block] = []
    for block in tensor.blocks:
        if axis not in block.axes:
            blocks.append(block)
            continue
        place = block.axes.index(axis)
        labels = np.asarray(block.labels.take(index, axis=place))
        rest = tuple(other for other in block.axes if other != axis)
        if rest:
            blocks += split_constant_axes(rest, labels)
        else:
            links.lock_labels(
                block.labels[index : index + 1] if index >= 0 else block.labels[index:][:1]
            )
    shifted = tuple(
        Block(tuple(other - (other > axis) for other in block.axes), block.labels)
        for block in blocks
    )
    return Labelled((*tensor.shape[:axis], *tensor.shape[axis + 1 :]), shifted)


def combine(links: Links, operands: Sequence[Labelled], shape: Sequence[int]) -> Labelled:
    """Carry labels through an element-wise operator with broadcasting to ``shape``.

    Joint blocks survive where every operand has the same block or does not vary over it.
    """
    aligned = [_aligned(operand, len(shape)) for operand in operands]
    joint = {block.axes for operand in aligned for block in operand.joint_blocks}
    keep = {axes for axes in joint if all(_fits(operand, axes) for operand in aligned)}
    aligned = [
        Labelled(
            operand.shape,
            tuple(
                single
                for block in operand.blocks
                for single in ([block] if block.axes in keep else links.single_axes(block))
            ),
        )
        for operand in aligned
    ]
    covered = {axis for axes in keep for axis in axes}
    targets = [*keep, *((axis,) for axis in range(len(shape)) if axis not in covered)]
    blocks = []
    for axes in sorted(targets):
        sizes = tuple(shape[axis] for axis in axes)
        blocks.append(Block(axes, _linked(links, aligned, axes, sizes)))
    return Labelled(tuple(shape), tuple(blocks))


def _aligned(operand: Labelled, ndim: int) -> Labelled:
    while operand.ndim < ndim:
        operand = operand.with_axis(0)
    return operand


def _fits(operand: Labelled, axes: tuple[int, ...]) -> bool:
    if any(block.axes == axes for block in operand.blocks):
        return True
    return all(operand.shape[axis] == 1 for axis in axes)


def _linked(
    links: Links, operands: Sequence[Labelled], axes: tuple[int, ...], sizes: tuple[int, ...]
) -> LabelArray:
    """Return the labels of the output block ``axes``, tying what the operands bring to it."""
    result: LabelArray | None = None
    for operand in operands:
        found = [block for block in operand.blocks if block.axes == axes]
        if found and found[0].labels.shape == sizes:
            labels = found[0].labels
            result = labels if result is None else links.link(result, labels)
        else:  # size 1, broadcast: the single index serves every position and cannot leave
            for block in operand.blocks:
                if set(block.axes) <= set(axes):
                    links.lock_labels(block.labels)
    return np.zeros(sizes, np.int32) if result is None else result
