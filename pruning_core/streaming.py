"""Weights of any size, a block at a time: exact thresholds, sparsity and masks of a whole file.

A magnitude is sorted by the bits of its float32: two passes count first the upper, then the lower
sixteen of them, so the k-th smallest of billions is found exactly in a few megabytes.
"""

import secrets
import shutil
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pruning_core.errors import ExportError, InvalidRecipeError, UnsupportedModelError
from pruning_core.loading.intake.contents import Stored
from pruning_core.loading.intake.safetensors_files import read_header
from pruning_core.rounding import share
from pruning_core.steps import run_to_end

_BLOCK: Final = 1 << 22
_PIECE: Final = 1 << 25
_HALF: Final = 16
_UPPER: Final = 1 << 15
_LOWER: Final = 1 << _HALF
N_FINITE: Final = 0x7F80
"""Bins of a survey before this one hold finite magnitudes; from it on, infinity and NaN."""
Bits = NDArray[np.uint32]
Counts = NDArray[np.int64]
Scope = Literal["global", "local"]


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What one pass found in one tensor.

    Attributes:
        name: Its name in the file.
        shape: Its shape.
        n: Elements.
        zeros: Elements that are zero.
        largest: Largest magnitude.
        mean: Mean magnitude, summed in float64.
        n_bad: Elements that are NaN or infinite.
        counts: ``[32768]`` elements by the upper bits of their magnitude; the value of a bin is
            :func:`bin_edges`.
    """

    name: str
    shape: tuple[int, ...]
    n: int
    zeros: int
    largest: float
    mean: float
    n_bad: int
    counts: Counts


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a tensor, or all together, are cut.

    Attributes:
        threshold: Magnitude of the lowest weight that stays.
        removed: How many become zero: all below the threshold, and the first ``ties`` equal to it.
        ties: How many of those equal to the threshold become zero.
    """

    threshold: float
    removed: int
    ties: int


def weights_of(path: Path) -> list[Stored]:
    """Return the matrices and kernels of a safetensors file; its header is all that is read.

    Raises:
        RefusedFileError: If the header and the file contradict each other.
        UnsupportedModelError: If there is no matrix.
    """
    tensors, _ = read_header(path)
    found = [s for s in tensors.values() if s.dtype.is_floating_point and len(s.shape) > 1]
    if not found:
        raise UnsupportedModelError("The file holds no matrix and no kernel to look at or prune.")
    return found


def survey(stored: Stored) -> Survey:
    """Look at every value of a tensor once."""
    counts = np.zeros(_UPPER + 1, np.int64)
    largest, total, bad, zeros = 0.0, 0.0, 0, 0
    for values in _blocks(stored):
        bits = _bits(values)
        counts[:_UPPER] += np.bincount(bits >> _HALF, minlength=_UPPER)
        zeros += int((bits == 0).sum())
        finite = values[np.isfinite(values)]
        bad += len(values) - len(finite)
        if len(finite):
            largest = max(largest, float(np.abs(finite).max()))
            total += float(np.abs(finite).sum(dtype=np.float64))
    n = int(np.prod(stored.shape))
    return Survey(
        stored.name, stored.shape, n, zeros, largest, total / max(1, n - bad), bad, counts[:_UPPER]
    )


def bin_edges() -> NDArray[np.float32]:
    """Return ``[32768]`` the lowest magnitude of each bin of a survey."""
    return (np.arange(_UPPER, dtype=np.uint32) << _HALF).view(np.float32)


def edge_near(counts: Counts, ratio: float) -> int:
    """Return the bin whose lowest magnitude, as a threshold, removes the share nearest to a ratio.

    Args:
        counts: ``[N_FINITE]`` of one survey or the sum of several; not all zero.
        ratio: Wanted share, from 0 to 1.
    """
    before = np.cumsum(counts) - counts
    return int(np.argmin(np.abs(before / counts.sum() - ratio)))


def pieces(stored: Stored) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Yield ``(row, column, values)``: the tensor laid out as ``[out, everything else]``, in parts.

    A part is whole rows, or a part of one row where that is longer than a block.
    """
    columns = int(np.prod(stored.shape[1:]))
    if columns <= _BLOCK:
        rows = max(1, _BLOCK // columns)
        for number, values in enumerate(_floats(_raw_blocks(stored, rows * columns))):
            yield number * rows, 0, values.reshape(-1, columns)
        return
    at = 0
    for values in _blocks(stored):
        start = 0
        while start < len(values):
            row, column = divmod(at, columns)
            end = min(len(values), start + columns - column)
            yield row, column, values[None, start:end]
            at, start = at + end - start, end


def below(tensors: Sequence[Stored], surveys: Sequence[Survey], threshold: float) -> dict[str, Cut]:
    """Return the cut of each tensor when every magnitude below ``threshold`` goes.

    Raises:
        InvalidRecipeError: If the threshold is none, or weights are NaN or infinite.
    """
    if not (0 <= threshold < float("inf")):
        raise InvalidRecipeError(f"The threshold is {threshold}; it must be 0 or more and finite.")
    _check_ranks(surveys)
    bits = int(_bits(np.array([threshold], np.float32))[0])
    upper, last = bits >> _HALF, bits & (_LOWER - 1)
    found = {}
    for stored, each in zip(tensors, surveys, strict=True):
        n = int(each.counts[:upper].sum())
        n += int(_lower_counts(stored, upper)[:last].sum()) if last else 0
        found[stored.name] = Cut(threshold, n, 0)
    return found


def cuts(
    tensors: Sequence[Stored], surveys: Sequence[Survey], ratio: float, scope: Scope
) -> dict[str, Cut]:
    """Return the exact cut of each tensor when a share ``ratio`` of all weights goes.

    Args:
        tensors: The weights.
        surveys: Of the same tensors, in their order.
        ratio: 0 or more, less than 1.
        scope: ``global`` has one threshold, ``local`` one for each tensor.

    Raises:
        InvalidRecipeError: If the ratio is none, or weights are NaN or infinite.
    """
    if not 0 <= ratio < 1:
        raise InvalidRecipeError(f"The ratio is {ratio}; it must be 0 or more and less than 1.")
    _check_ranks(surveys)
    if scope == "local":
        return {
            stored.name: _cut([stored], [each], _count(ratio, each.n))[stored.name]
            for stored, each in zip(tensors, surveys, strict=True)
        }
    return _cut(tensors, surveys, _count(ratio, sum(each.n for each in surveys)))


def _check_ranks(surveys: Sequence[Survey]) -> None:
    wrong = next((each for each in surveys if each.n_bad), None)
    if wrong is not None:
        raise InvalidRecipeError(
            f"'{wrong.name[:60]}' holds {wrong.n_bad:,} NaN or infinite values, which have no rank."
        )


def _count(ratio: float, n: int) -> int:
    """Return how many of ``n`` go: as in a plan, to the nearest and never all."""
    return max(0, min(share(ratio, n), n - 1))


def _cut(tensors: Sequence[Stored], surveys: Sequence[Survey], k: int) -> dict[str, Cut]:
    """Return where each tensor is cut when the ``k`` smallest of all of them go."""
    counts = np.sum([each.counts for each in surveys], axis=0)
    ends = np.cumsum(counts)
    upper = int(np.searchsorted(ends, k, side="right"))
    before = int(ends[upper] - counts[upper])
    lower = {stored.name: _lower_counts(stored, upper) for stored in tensors}
    inside = np.cumsum(np.sum(list(lower.values()), axis=0))
    last = int(np.searchsorted(inside, k - before, side="right"))
    bits = np.array([(upper << _HALF) | last], np.uint32)
    ties = k - before - int(inside[last - 1] if last else 0)
    found = {}
    for stored, each in zip(tensors, surveys, strict=True):
        own = lower[stored.name]
        taken = min(ties, int(own[last]))
        ties -= taken
        below = int(each.counts[:upper].sum() + own[:last].sum())
        found[stored.name] = Cut(float(bits.view(np.float32)[0]), below + taken, taken)
    return found


def _lower_counts(stored: Stored, upper: int) -> Counts:
    """Count the lower bits of those magnitudes whose upper bits are ``upper``."""
    counts = np.zeros(_LOWER, np.int64)
    for values in _blocks(stored):
        bits = _bits(values)
        here = bits[(bits >> _HALF) == upper] & (_LOWER - 1)
        counts += np.bincount(here, minlength=_LOWER)
    return counts


def write_masked(source: Path, target: Path, found: Mapping[str, Cut]) -> int:
    """Write ``source`` to ``target`` with zeros where weights go; return how many were written.

    Raises:
        ExportError: If the file cannot be written, or has no room.
    """
    return run_to_end(masking(source, target, found))


def masking(source: Path, target: Path, found: Mapping[str, Cut]) -> Generator[float, None, int]:
    """Do the work of :func:`write_masked` in steps; yields the share that is done.

    Header, order and all other bytes stay as they are. The file appears when it is whole; closing
    the generator leaves nothing behind.

    Raises:
        ExportError: If the file cannot be written, or has no room.
    """
    written = 0
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        _check_room(source, target)
        total = max(source.stat().st_size, 1)
        with source.open("rb") as whole, part.open("xb") as copy:
            while piece := whole.read(_PIECE):
                copy.write(piece)
                yield 0.5 * copy.tell() / total
        with part.open("r+b") as stream:
            for stored in weights_of(source):
                if stored.name in found:
                    for at, zeros in _masked(stored, found[stored.name], stream):
                        written += zeros
                        yield 0.5 + 0.5 * at / total
        part.replace(target)
    except OSError as error:
        raise ExportError(f"'{target}' could not be written: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)
    return written


def _check_room(source: Path, target: Path) -> None:
    free, needed = shutil.disk_usage(target.parent).free, source.stat().st_blocks * 512
    if free < needed:
        raise ExportError(
            f"'{target.parent}' has {free / 1e9:.1f} GB free; {needed / 1e9:.1f} GB are needed."
        )


def _masked(stored: Stored, cut: Cut, stream: BinaryIO) -> Iterator[tuple[int, int]]:
    """Write zeros over what goes; yields where in the file each block ends, and its zeros."""
    if stored.place is None:
        return
    at, left = stored.place[1], cut.ties
    size = stored.dtype.itemsize
    for raw, values in zip(_raw_blocks(stored), _blocks(stored), strict=True):
        magnitude = np.abs(values)
        goes = magnitude < cut.threshold
        equal = np.flatnonzero(magnitude == cut.threshold)[:left]
        left -= len(equal)
        goes[equal] = True
        if goes.any():
            kept = raw.clone()
            kept[torch.from_numpy(goes)] = 0
            stream.seek(at)
            stream.write(kept.view(torch.uint8).numpy().data)
        at += len(values) * size
        yield at, int(goes.sum())


def _raw_blocks(stored: Stored, length: int | None = None) -> Iterator[Tensor]:
    """Yield the values a block at a time, read from the file; nothing of it stays in memory."""
    block = length or _BLOCK
    if stored.place is None:
        flat = stored.read().reshape(-1)
        yield from (flat[i : i + block] for i in range(0, len(flat), block))
        return
    path, start = stored.place
    size, left = stored.dtype.itemsize, stored.n_bytes
    with path.open("rb") as stream:
        stream.seek(start)
        while left:
            raw = bytearray(stream.read(min(left, block * size)))
            if not raw:
                raise ExportError(f"'{path.name}' became shorter while it was read.")
            left -= len(raw)
            yield torch.frombuffer(raw, dtype=stored.dtype)


def _blocks(stored: Stored) -> Iterable[NDArray[np.float32]]:
    """Yield the values as float32, a block at a time (float64 is rounded)."""
    return _floats(_raw_blocks(stored))


def _floats(blocks: Iterable[Tensor]) -> Iterable[NDArray[np.float32]]:
    return (block.float().numpy() for block in blocks)


def _bits(values: NDArray[np.float32]) -> Bits:
    """Return the bits of the magnitudes, whose order is that of the magnitudes."""
    return np.ascontiguousarray(values).view(np.uint32) & np.uint32(0x7FFFFFFF)
