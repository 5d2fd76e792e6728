"""A file of weights of 10 GB: seconds and memory to open it, look at every value, and cut it.

    python -m benchmarks.big_file [--gigabytes 10]

The file is sparse on disk: most of it is a hole that reads as zeros, some blocks hold normal
numbers. Each step runs in a process of its own, whose peak memory the system reports.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROWS, COLUMNS = 8192, 32768


def make(path: Path, gigabytes: float) -> None:
    """Write a sparse safetensors file of float32 matrices of 1 GiB each."""
    n = max(1, round(gigabytes * 1e9 / (4 * ROWS * COLUMNS)))
    size = 4 * ROWS * COLUMNS
    header = {
        f"layer.{i}.weight": {
            "dtype": "F32",
            "shape": [ROWS, COLUMNS],
            "data_offsets": [i * size, (i + 1) * size],
        }
        for i in range(n)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    draw = np.random.default_rng(0)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for i in range(n):
            stream.seek(8 + len(text) + i * size)
            stream.write(draw.standard_normal(1 << 20, np.float32).tobytes())
        stream.truncate(8 + len(text) + n * size)


def picture(path: Path) -> float:
    """Make the raster and the histogram of one matrix; return its largest magnitude."""
    from pruning_core.figures.histogram import merge_bins
    from pruning_core.figures.raster import rasterise_pieces
    from pruning_core.streaming import bin_edges, pieces, survey, weights_of

    first = weights_of(path)[0]
    raster = rasterise_pieces(pieces(first), (ROWS, COLUMNS))
    bins = merge_bins(bin_edges(), survey(first).counts)
    assert int(bins.counts.sum()) == ROWS * COLUMNS
    return float(raster.cells.max())


def step(path: Path, what: str) -> None:
    """Do one step and print seconds and peak memory as JSON."""
    from pruning_core.streaming import cuts, survey, weights_of

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    tensors = weights_of(path)
    removed = 0
    if what == "picture":
        picture(path)
    elif what != "open":
        surveys = [survey(stored) for stored in tensors]
        if what == "cut":
            found = cuts(tensors, surveys, 0.999, "global")
            removed = sum(cut.removed for cut in found.values())
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {"seconds": seconds, "peak_mb": peak / 1024, "start_mb": before / 1024}
            | {"tensors": len(tensors), "removed": removed}
        )
    )


def main() -> None:
    """Make the file, measure each step, print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gigabytes", type=float, default=10)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        step(arguments.file, arguments.step)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "big.safetensors"
        make(path, arguments.gigabytes)
        used = path.stat().st_blocks * 512 / 1e6
        print(f"{path.stat().st_size / 1e9:.1f} GB ({used:.0f} MB on disk)")
        for name in ("open", "picture", "look", "cut"):
            command = [sys.executable, "-m", "benchmarks.big_file", "--step", name]
            done = subprocess.run([*command, "--file", path], capture_output=True, check=True)
            found = json.loads(done.stdout)
            print(
                f"{name:6} {found['seconds']:8.2f} s, peak {found['peak_mb']:,.0f} MB (imports "
                f"{found['start_mb']:,.0f} MB), {found['tensors']} tensors, "
                f"{found['removed']:,} weights go"
            )


if __name__ == "__main__":
    main()
