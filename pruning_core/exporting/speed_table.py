"""What the speed of a run was measured to be, as rows of text; every surface shows these."""

from collections.abc import Mapping
from typing import Any, Final

from pruning_core.exporting.int8_table import milliseconds, speed_words
from pruning_core.exporting.wording import count, size

BACKENDS: Final[Mapping[str, str]] = {
    "pytorch": "PyTorch",
    "compiled": "PyTorch, compiled",
    "onnxruntime": "onnxruntime",
}
HEADER: Final = ("Runtime", "Batch", "Threads", "Dense", "Pruned", "Dense / pruned, 95 % interval")
MEMORY_HEADER: Final = ("Memory (one thread, PyTorch)", "Dense", "Pruned")
HOW: Final = (
    "MEASURED on this machine, dense and pruned in turns after a warm-up: medians with quartiles, "
    "and the median ratio of pairs with its bootstrap interval. A gain counts when the whole "
    "interval lies above 1.02."
)

Found = Mapping[str, Any]


def speed_rows(found: Found) -> list[tuple[str, ...]]:
    """Return the rows under ``HEADER`` of what ``measure_speed`` returned."""
    return [
        (
            BACKENDS.get(row["backend"], row["backend"]),
            str(row["batch_size"]),
            str(row["threads"]),
            milliseconds(row["before"]),
            milliseconds(row["after"]),
            speed_words(row),
        )
        for row in found["rows"]
    ]


def memory_rows(found: Found) -> list[tuple[str, ...]]:
    """Return the rows under ``MEMORY_HEADER``; the first is exact, the others are measured."""
    weights = found["weights"]
    rows: list[tuple[str, ...]] = [
        ("Weights, EXACT", size(weights["dense"]), size(weights["pruned"]))
    ]
    return rows + [
        (
            f"A pass over a batch of {row['batch_size']} adds, MEASURED, n = {row['n']}",
            size(row["dense"]),
            size(row["pruned"]),
        )
        for row in found["memory"]
    ]


def speed_sentences(found: Found) -> list[str]:
    """Return why there is no gain, by the cases it is true of, and what could not be measured."""
    cases: dict[str, list[str]] = {}
    for row in found["rows"]:
        if row["why"]:
            runtime = BACKENDS.get(row["backend"], row["backend"])
            cases.setdefault(row["why"], []).append(f"{runtime}, batch of {row['batch_size']}")
    texts = [f"{'; '.join(dict.fromkeys(names))}: {why}" for why, names in cases.items()]
    macs = found["macs"]
    fewer = f"MACs for one sample (EXACT): {count(macs['dense'])} before, {count(macs['pruned'])}"
    return [*texts, *found["problems"], f"{fewer} after."]
