"""The tables of the accuracy benchmark: what was measured, what was not, and the goals."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.accuracy_cells import (
    ALL,
    DENSE,
    OURS,
    PEERS,
    PROMISES,
    RANDOM,
    RECOMMENDED,
    SCRATCH,
    UNPRUNED,
    Cell,
    Point,
    is_default,
)
from benchmarks.accuracy_rows import Row

LOOPS: Final = ("torch L1 iterative",)
STRONG: Final = {("weights", 0.98), ("channels", 4)}


@dataclass(frozen=True, slots=True)
class Seeds:
    """The rows of one network, point and method."""

    rows: tuple[Row, ...]
    wanted: int

    @property
    def mean(self) -> float:
        """Mean accuracy in percent."""
        return statistics.mean(100 * row.tuned for row in self.rows)

    def by_seed(self) -> dict[int, Row]:
        """Return the rows by seed."""
        return {row.cell.seed: row for row in self.rows}

    def shown(self) -> str:
        """Return mean, spread and number of seeds; a dash where nothing was measured."""
        if not self.rows:
            return "not run"
        spread = ""
        if len(self.rows) > 1:
            spread = f" ± {statistics.stdev(100 * row.tuned for row in self.rows):.2f}"
        return f"{self.mean:.2f}{spread} (n = {len(self.rows)})"


class Found:
    """All rows, by network, point and method."""

    def __init__(self, cells: Sequence[Cell], rows: Sequence[Row]) -> None:
        """Keep the rows of ``cells``; a file may hold others, such as of other epochs."""
        self.cells = cells
        keys = {cell.key for cell in cells}
        self.rows = {row.cell.key: row for row in rows if row.cell.key in keys}

    def seeds(self, network: str, point: Point, method: str) -> Seeds:
        """Return what is known of one method at one point."""
        same = [
            cell
            for cell in self.cells
            if (cell.network, cell.point, cell.method) == (network, point, method)
        ]
        found = tuple(self.rows[cell.key] for cell in same if cell.key in self.rows)
        return Seeds(found, len(same))


@dataclass(frozen=True, slots=True)
class Difference:
    """Differences in points, seed by seed.

    Attributes:
        pairs: One for each seed that both methods have.
    """

    pairs: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean of the differences."""
        return statistics.mean(self.pairs)

    def shown(self) -> str:
        """Return mean, spread and number of seeds."""
        spread = f" ± {statistics.stdev(self.pairs):.2f}" if len(self.pairs) > 1 else ""
        return f"{self.mean:+.2f}{spread} (n = {len(self.pairs)})"


def difference(ours: Seeds, other: Seeds) -> Difference | None:
    """Return the differences over the seeds both have; None when there are none."""
    left, right = ours.by_seed(), other.by_seed()
    pairs = [100 * (left[seed].tuned - right[seed].tuned) for seed in left if seed in right]
    return Difference(tuple(pairs)) if pairs else None


def report(cells: Sequence[Cell], rows: Sequence[Row], environment: Mapping[str, Any]) -> str:
    """Return the whole page as Markdown."""
    found = Found(cells, rows)
    networks = list(dict.fromkeys(cell.network for cell in cells))
    lines = [
        "# Accuracy after pruning and fine-tuning",
        "",
        "Made by `python -m benchmarks.accuracy`; raw cells in `accuracy.jsonl`. Accuracy on the "
        "test split in percent: mean ± standard deviation (n = seeds). One seed has no spread. "
        "`not run`: the cell has not been measured yet.",
        "",
        f"Measured: {len(found.rows)} of {len(cells)} cells, and {_of_default(found)} of a run "
        f"without flags. PyTorch {environment.get('torch', '?')}, one thread.",
        "",
        "Fine-tuning of every method, peers and controls included (`from scratch` has the "
        "network's own training besides):",
        "",
        *(f"- {name}: {_training(cells, name)}" for name in networks),
        "",
        f"The goals are about the **{RECOMMENDED}** way (`planning.advice`), chosen by validation "
        "accuracy: [what was tried](accuracy_choice.md).",
        "",
        *_goals(found, networks),
    ]
    for network in networks:
        for kind in ("weights", "channels"):
            lines += _table(found, network, kind)
    return "\n".join(lines) + "\n"


def _of_default(found: Found) -> str:
    default = [cell for cell in found.cells if is_default(cell)]
    return f"{sum(cell.key in found.rows for cell in default)} of the {len(default)}"


def _training(cells: Sequence[Cell], network: str) -> str:
    tuning = ALL[network].tuning
    epochs = next(cell.epochs for cell in cells if cell.network == network)
    changed = ", images mirrored at random" if tuning.horizontal_flip else ""
    return (
        f"{epochs} epochs, {tuning.optimiser} at {tuning.learning_rate:g} (cosine), batches of "
        f"{tuning.batch_size}, weight decay {tuning.weight_decay:g}{changed}"
    )


def _points(found: Found, network: str, kind: str) -> list[Point]:
    return list(
        dict.fromkeys(
            cell.point
            for cell in sorted(found.cells, key=lambda cell: cell.point.value)
            if cell.network == network and cell.point.kind == kind
        )
    )


def _table(found: Found, network: str, kind: str) -> list[str]:
    points = _points(found, network, kind)
    if not points:
        return []
    lines = [
        "",
        f"## {network}, {kind}",
        "",
        "| method | " + " | ".join(p.title for p in points) + " |",
    ]
    lines.append("|---|" + "---|" * len(points))
    missing = []
    for method in (*OURS, *PEERS[points[0].kind], RANDOM, SCRATCH):
        every = [found.seeds(network, point, method) for point in points]
        if not any(seeds.rows for seeds in every):
            missing.append(method)
            continue
        shown = [seeds.shown() for seeds in every]
        name = f"**{method}**" if method == RECOMMENDED else method
        if method in (*PEERS[points[0].kind], RANDOM, SCRATCH):
            name = f"{'control' if method in (RANDOM, SCRATCH) else 'peer'}: {method}"
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    sizes = []
    for point in points:
        rows = found.seeds(network, point, RECOMMENDED).rows
        if not rows:
            sizes.append("")
        elif kind == "weights":
            sizes.append(f"{rows[0].nonzero:.2%} non-zero")
        else:
            sizes.append(f"{1 / rows[0].macs:.2f}x, {rows[0].nonzero:.1%} of parameters")
    lines.append("| *what the recommended recipe left* | " + " | ".join(sizes) + " |")
    control = found.seeds(network, UNPRUNED, DENSE)
    dense = ""
    if control.rows:
        accuracy = statistics.mean(100 * row.dense for row in control.rows)
        dense = f"Dense network {accuracy:.2f}; "
    lines += ["", f"{dense}control, dense + the same extra epochs: {control.shown()}."]
    return [*lines, f"Not run at any of these points: {', '.join(missing)}."] if missing else lines


def _goals(found: Found, networks: Sequence[str]) -> list[str]:
    lines = [
        "## Goals",
        "",
        "Difference of the recommended recipe to the best peer by mean (pruned at once, as the "
        "libraries do it), seed by seed (± standard deviation of the differences); and to the loop "
        "around torch.nn.utils.prune in rounds where it was measured; and to the dense network.",
        "",
        "| network | point | ours | best peer | ours - peer | goal | | ours - loop | ours - dense "
        "| dense + epochs - dense |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for network in networks:
        control = _extra(found.seeds(network, UNPRUNED, DENSE))
        for kind in ("weights", "channels"):
            lines += [_goal(found, network, p, control) for p in _points(found, network, kind)]
    return [*lines, *_promises(found)]


def _goal(found: Found, network: str, point: Point, control: str) -> str:
    ours = found.seeds(network, point, RECOMMENDED)
    goal = 1.0 if (point.kind, point.value) in STRONG else 0.0
    peers = {
        method: seeds
        for method in PEERS[point.kind]
        if method not in LOOPS and (seeds := found.seeds(network, point, method)).rows
    }
    best = max(peers, key=lambda name: peers[name].mean, default="")
    gap = difference(ours, peers[best]) if best else None
    loop = difference(ours, found.seeds(network, point, LOOPS[0]))
    shown = "not run"
    if gap is not None:
        verdict = "reached"
        if gap.mean < goal - 1e-9:
            below = statistics.mean(100 * (row.dense - row.tuned) for row in peers[best].rows)
            side = "below" if below >= 0 else "above"
            room = f" (the peer is {abs(below):.2f} {side} dense)" if below < goal else ""
            verdict = f"{goal - gap.mean:.2f} short{room}"
        shown = f"{gap.shown()} | >= {goal:.0f} | {verdict}"
    else:
        shown += f" | >= {goal:.0f} | "
    peer = f"{best} {peers[best].shown()}" if best else "not run"
    loss = _extra(ours)
    return (
        f"| {network} | {point.title} | {ours.shown()} | {peer} | {shown} | "
        f"{loop.shown() if loop else ''} | {loss} | {control} |"
    )


def _extra(seeds: Seeds) -> str:
    """Return what is gained on the dense network, in points."""
    if not seeds.rows:
        return ""
    return f"{statistics.mean(100 * (row.tuned - row.dense) for row in seeds.rows):+.2f}"


def _promises(found: Found) -> list[str]:
    lines = [""]
    for goal in PROMISES:
        seeds = found.seeds(goal.network, goal.point, RECOMMENDED)
        if not seeds.wanted:
            continue
        subject = f"- {goal.network} with {goal.words}"
        if not seeds.rows:
            lines.append(f"{subject}: not run.")
            continue
        loss = statistics.mean(100 * (row.dense - row.tuned) for row in seeds.rows)
        reached = loss <= goal.limit + 1e-9
        scratch = found.seeds(goal.network, goal.point, SCRATCH)
        lines.append(
            f"{subject} loses {loss:.2f} points (n = {len(seeds.rows)}; goal: at most "
            f"{goal.limit}, {'reached' if reached else f'{loss - goal.limit:.2f} short'}). "
            f"Controls: dense + the same extra epochs "
            f"{found.seeds(goal.network, UNPRUNED, DENSE).shown()}, the same size from scratch "
            f"{scratch.shown()}."
        )
    return lines if len(lines) > 1 else []
