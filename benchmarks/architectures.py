"""How many kinds of networks can be pruned exactly, beside Torch-Pruning.

Usage: python -m benchmarks.architectures [--only TEXT] [--again TEXT] [--write FOLDER]

Needs an environment of its own, see benchmarks/README.md. Each network is measured in a process of
its own with a time limit; results are kept in .state/benchmarks/architectures.jsonl, so that a run
that was stopped goes on where it was.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from benchmarks.catalogue import CATALOGUE
from benchmarks.exactness import TOLERANCE

RESULTS: Final = Path(".state/benchmarks/architectures.jsonl")
LIMIT: Final = 300
PEER_LIMIT: Final = 60
PACKAGES: Final = ("torch", "torchvision", "timm", "transformers", "torch-pruning")
Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is not measured yet, then print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default="", help="measure identities that contain this")
    parser.add_argument("--again", help="measure anew those whose row contains this, e.g. error")
    parser.add_argument("--write", type=Path, help="folder for architectures.md")
    parser.add_argument("--alone", action="store_true", help="leave Torch-Pruning for later")
    parser.add_argument("--measure", choices=("ours", "peer"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.measure:
        _measure_here(arguments.measure, arguments.only)
        return
    known = read_rows()
    for identity in CATALOGUE:
        old = known.get(identity)
        again = arguments.again is not None and arguments.again in json.dumps(old)
        complete = old is not None and (arguments.alone or "peer" in old)
        if arguments.only not in identity or (complete and not again):
            continue
        row = old if old is not None and not again else _ours(identity)
        if old is not None and "peer" in old:
            row["peer"] = old["peer"]
        elif not arguments.alone:
            row["peer"] = _in_process("peer", identity, PEER_LIMIT)
        known[identity] = row
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        with RESULTS.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        print(line(row), flush=True)
    table = document([known[identity] for identity in CATALOGUE if identity in known])
    if arguments.write:
        (arguments.write / "architectures.md").write_text(table, encoding="utf-8")
    print(table)


def read_rows() -> dict[str, Row]:
    """Return the newest row of each network measured so far."""
    if not RESULTS.is_file():
        return {}
    rows = [json.loads(text) for text in RESULTS.read_text().splitlines()]
    return {row["identity"]: row for row in rows}


def _ours(identity: str) -> Row:
    return {"identity": identity, **_in_process("ours", identity, LIMIT)}


def _in_process(who: str, identity: str, limit: int) -> Row:
    command = [sys.executable, "-m", "benchmarks.architectures", "--measure", who]
    began = time.perf_counter()
    try:
        done = subprocess.run(
            [*command, "--only", identity],
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"took longer than {limit} s", "outcome": "fails", "seconds": limit}
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return {"error": last[:300], "crash": True, "outcome": "fails", "reason": last[:300]}
    row: Row = json.loads(lines[-1])
    return row | {"total_seconds": time.perf_counter() - began}


def _measure_here(who: str, identity: str) -> None:
    """Measure one network and print its row as the last line."""
    import torch

    from pruning_core.errors import PruningError

    torch.set_num_threads(1)
    if who == "peer":
        from benchmarks.torch_pruning_peer import measure
    else:
        from benchmarks.exactness import measure
    try:
        row = measure(identity, CATALOGUE[identity])
    except PruningError as error:
        row = {"error": str(error)}
    print("\n" + json.dumps(row))


def is_exact(row: Row) -> bool:
    """Tell whether prediction, count and outputs agree."""
    return "error" not in row and counts_agree(row) and outputs_agree(row) in {"yes", "marked"}


def counts_agree(row: Row) -> bool:
    """Tell whether predicted and counted parameters and MACs are the same."""
    return bool(row["params_error"] == 0 and row["macs_error"] == 0)


def outputs_agree(row: Row) -> str:
    """Return ``yes``, ``marked`` (differs only where the trace says it does) or the difference.

    "Same choices" is added where both models were made to choose the same boxes.
    """
    worst = row["difference"]
    if worst <= TOLERANCE:
        return "yes, same choices" if row.get("choices") else "yes"
    rest = row.get("unmarked_difference")
    if rest is not None and rest <= TOLERANCE:
        return "marked, same choices" if row.get("unmarked_choices") else "marked"
    return f"{worst:.1e}" if rest is None else f"{rest:.1e} without marked groups"


def line(row: Row) -> str:
    """Return one row of the table."""
    peer = row.get("peer") or {}
    peer_cells = (peer.get("outcome", ""), f"{peer.get('seconds', 0):.1f}" if peer else "")
    if "error" in row:
        cells = (row["identity"], *[""] * 9, row["error"], *peer_cells)
        return "| " + " | ".join(cells) + " |"
    unknown = ", ".join(f"{name} {count}" for name, count in row["unknown"].items())
    counts = "yes" if counts_agree(row) else f"{row['params_error']:+}, {row['macs_error']:+}"
    cells = (
        row["identity"],
        f"{row['params'] / 1e6:.1f}",
        str(row["groups"]),
        str(row["units"]),
        f"{row['prunable']:.0%}",
        unknown,
        counts,
        outputs_agree(row),
        row["form"],
        f"{row['trace_seconds']:.1f}",
        row["reason"],
        *peer_cells,
    )
    return "| " + " | ".join(cells) + " |"


HEADER = (
    "model", "million parameters", "groups", "units", "prunable", "unknown operators",
    "predicted = counted", "masked = pruned", "result", "trace, s", "remark",
    "Torch-Pruning", "s",
)  # fmt: skip


def document(rows: Sequence[Row]) -> str:
    """Return the table with a summary, versions and date."""
    traced = [row for row in rows if "error" not in row]
    exact = [row for row in traced if is_exact(row)]
    own = sum(row["form"] == "module" for row in exact)
    share = len(exact) / max(len(traced), 1)
    peers = [row.get("peer") or {} for row in rows]
    runs = [peer for peer in peers if peer.get("outcome") in {"exact", "norms", "differs"}]
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    crashed = sum(bool(row.get("crash")) for row in rows)
    summary = (
        f"{len(rows)} of {len(CATALOGUE)} networks measured: {len(traced)} trace, {len(exact)} of "
        f"these are exact ({share:.1%}), {own} as the user's own class; "
        f"{crashed} crash. Of the {sum(map(bool, peers))} given to it, Torch-Pruning prunes "
        f"{len(runs)}, {sum(peer['outcome'] == 'exact' for peer in runs)} of them exactly."
    )
    notes = (
        f"A seeded random {0.4:.0%} of the units of every group leaves. *Predicted = counted*: "
        "parameters and MACs equal to the integer. *Masked = pruned*: the output is that of the "
        f"dense model with the same slices at zero (relative difference up to {TOLERANCE:g}); "
        "*marked*: it is after pruning all groups but those that the trace marks as changing a "
        "normalisation. *Same choices*: a detector picks boxes among nearly equal scores, or finds "
        "none; the pruned model was made to pick those that the dense one picks, and the results "
        "of its layers were compared as well. Torch-Pruning gets the same model, random scores and "
        "the layers that make the outputs to leave alone, and nothing else by hand; *exact* is the "
        "same comparison, *norms* means that it shrank a layer or group normalisation, where "
        "zeroing is no reference, *differs* that the pruned model computes something else, "
        "*nothing* that no parameter left."
    )
    head = "| " + " | ".join(HEADER) + " |\n|" + "---|" * len(HEADER)
    date = datetime.now(UTC).date().isoformat()
    body = "\n".join(line(row) for row in rows)
    return f"# Breadth\n\n{summary}\n\n{notes}\n\n{versions}; {date}.\n\n{head}\n{body}\n"


if __name__ == "__main__":
    main()
