"""Checkpoints: everything needed to go on after the last finished epoch, to the bit.

A file is one line with the SHA-256 of the rest, then a ``torch.save`` archive of tensors and plain
data only (it is loaded with ``weights_only``, so it can hold no code). The newest two are kept;
when the newest is damaged the one before it is used. The ends of rounds are kept as well, so that a
run can be forked there: the newest, as many as fit into ``ROOM_BYTES``. A finished run keeps those.
"""

import hashlib
import io
import itertools
import pickle
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pruning_core.evaluation.evaluate import ClassMetrics, Evaluation
from pruning_core.planning.recipe import Recipe
from pruning_core.runs import atomic
from pruning_core.tuning.finetune import EpochResult

KEPT: Final = 2
ROOM_BYTES: Final = 500_000_000
_NAME: Final = re.compile(r"epoch_(\d{5,})(?:_round_(\d+))?\.ckpt")
VERSION: Final = 3
_MAGIC: Final = b"pruning-studio-checkpoint"


@dataclass(frozen=True, slots=True, eq=False)
class PlanState:
    """The plan of one finished or begun round, in the units of the dense network.

    Attributes:
        keep: Site name -> bool ``[U]``, True stays.
        thresholds: Score of the first unit that stays, by site.
        notes: Why a wish was limited, by site.
    """

    keep: Mapping[str, NDArray[np.bool_]]
    thresholds: Mapping[str, float]
    notes: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class HeldState:
    """What the last round that held the accuracy left, for recipes with a largest drop.

    Attributes:
        module: Its weights and buffers by name.
        pruned: Test metrics right after its pruning.
    """

    module: Mapping[str, Tensor]
    pruned: Evaluation | None


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """The state of a run after an epoch.

    Attributes:
        fingerprint: Fingerprint of the recipe.
        weights_sha256: Digest of the dense model.
        source: Which copy of the data was read.
        epoch: Epochs finished, over all rounds.
        round: Round it belongs to, 1-based.
        plans: Plan of every round up to this one.
        tuner: State of the fine-tuning: tensors and plain data.
        dense: Test metrics of the dense network; None when not measured.
        pruned: Test metrics after pruning; None when not measured (yet).
        epochs: Results of all finished epochs.
        seconds: Wall-clock seconds by stage so far.
        is_fork: True when it is of a run whose recipe may have had other settings of fine-tuning:
            its epochs are kept, and what follows obeys the recipe it is given to.
        held: The last round that held the accuracy; None before one, and without a largest drop.
        verdicts: By finished round before this one, whether it held the accuracy.
    """

    fingerprint: str
    weights_sha256: str
    source: str
    epoch: int
    round: int
    plans: tuple[PlanState, ...]
    tuner: Mapping[str, Any]
    dense: Evaluation | None
    pruned: Evaluation | None
    epochs: tuple[EpochResult, ...]
    seconds: Mapping[str, float]
    held: HeldState | None = None
    verdicts: tuple[bool, ...] = ()
    is_fork: bool = False


def epochs_added(recipe: Recipe, checkpoint: Checkpoint) -> int:
    """Return how many epochs more came before a checkpoint than ``recipe`` has before its place.

    0 unless the checkpoint is of another recipe: a fork keeps the epochs of the run it comes from.
    """
    if checkpoint.round == 0 or not checkpoint.epochs:
        return 0
    before = recipe.n_sparse_epochs + (checkpoint.round - 1) * recipe.tuning.epochs
    return checkpoint.epochs[-1].epoch - int(checkpoint.tuner["epoch"]) - before


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write the checkpoint whole, then remove those no longer kept; return its path.

    Raises:
        OSError: If the disk refuses; the older checkpoints stay.
    """
    buffer = io.BytesIO()
    torch.save(_packed(checkpoint), buffer)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest().encode()
    path = folder / f"epoch_{checkpoint.epoch:05d}_round_{checkpoint.round:02d}.ckpt"
    atomic.write_bytes(path, _MAGIC + b" " + digest + b"\n" + content)
    keep = {*checkpoint_files(folder)[-KEPT:], *_fitting(round_ends(folder))}
    _remove_others(folder, keep)
    return path


def tidy_checkpoints(folder: Path) -> None:
    """Leave what a finished run keeps: the ends of its rounds, as far as there is room for them."""
    _remove_others(folder, set(_fitting(round_ends(folder))))


def round_ends(folder: Path) -> list[Path]:
    """Return the last checkpoint file of each round so far, the oldest first."""
    last: dict[str, Path] = {}
    for path in checkpoint_files(folder):
        named = _NAME.fullmatch(path.name)
        last[(named and named[2]) or ""] = path
    return list(last.values())


def epoch_of(path: Path) -> int:
    """Return after which epoch a checkpoint file was written; 0 for other names."""
    named = _NAME.fullmatch(path.name)
    return int(named[1]) if named else 0


def _fitting(paths: list[Path]) -> list[Path]:
    """Return the newest of ``paths`` that together have room."""
    sizes = itertools.accumulate(path.stat().st_size for path in reversed(paths))
    return [
        path for path, n_bytes in zip(reversed(paths), sizes, strict=True) if n_bytes <= ROOM_BYTES
    ]


def _remove_others(folder: Path, keep: set[Path]) -> None:
    for path in checkpoint_files(folder):
        if path not in keep:
            path.unlink(missing_ok=True)


def checkpoint_files(folder: Path) -> list[Path]:
    """Return the checkpoint files in ``folder``, the oldest first."""
    return sorted(folder.glob("epoch_*.ckpt"), key=epoch_of)


def newest_checkpoint(folder: Path) -> tuple[Checkpoint | None, tuple[str, ...]]:
    """Return the newest whole checkpoint (None without one) and the names of damaged newer ones."""
    damaged: list[str] = []
    for path in reversed(checkpoint_files(folder)):
        checkpoint = read_checkpoint(path)
        if checkpoint is not None:
            return checkpoint, tuple(damaged)
        damaged.append(path.name)
    return None, tuple(damaged)


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Return the checkpoint in ``path``, or None when it is not whole or not of this version."""
    return checkpoint_in(path.read_bytes())


def checkpoint_in(whole: bytes) -> Checkpoint | None:
    """Return the checkpoint a file holds, or None when it is not whole or not of this version."""
    header, _, content = whole.partition(b"\n")
    if header != _MAGIC + b" " + hashlib.sha256(content).hexdigest().encode():
        return None
    try:
        packed = torch.load(io.BytesIO(content), weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError):
        return None
    return _unpacked(packed) if packed.get("version") == VERSION else None


def _packed(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the checkpoint as tensors and plain data."""
    packed = {field.name: getattr(checkpoint, field.name) for field in fields(Checkpoint)}
    return packed | {
        "version": VERSION,
        "plans": [
            {
                "keep": {site: torch.from_numpy(keep) for site, keep in plan.keep.items()},
                "thresholds": {site: float(value) for site, value in plan.thresholds.items()},
                "notes": {site: list(texts) for site, texts in plan.notes.items()},
            }
            for plan in checkpoint.plans
        ],
        "tuner": dict(checkpoint.tuner),
        "dense": _packed_evaluation(checkpoint.dense),
        "pruned": _packed_evaluation(checkpoint.pruned),
        "epochs": [asdict(epoch) for epoch in checkpoint.epochs],
        "seconds": dict(checkpoint.seconds),
        "verdicts": list(checkpoint.verdicts),
        "held": checkpoint.held
        and {
            "module": dict(checkpoint.held.module),
            "pruned": _packed_evaluation(checkpoint.held.pruned),
        },
    }


def _unpacked(packed: Mapping[str, Any]) -> Checkpoint:
    values = {
        field.name: packed[field.name] for field in fields(Checkpoint) if field.name in packed
    }
    plans = tuple(
        PlanState(
            keep={site: keep.numpy() for site, keep in plan["keep"].items()},
            thresholds=plan["thresholds"],
            notes={site: tuple(texts) for site, texts in plan["notes"].items()},
        )
        for plan in packed["plans"]
    )
    return Checkpoint(
        **values
        | {
            "plans": plans,
            "verdicts": tuple(packed.get("verdicts", ())),
            "dense": _unpacked_evaluation(packed["dense"]),
            "pruned": _unpacked_evaluation(packed["pruned"]),
            "epochs": tuple(EpochResult(**epoch) for epoch in packed["epochs"]),
            "held": packed["held"]
            and HeldState(packed["held"]["module"], _unpacked_evaluation(packed["held"]["pruned"])),
        }
    )


def _packed_evaluation(evaluation: Evaluation | None) -> dict[str, Any] | None:
    if evaluation is None:
        return None
    values = {field.name: getattr(evaluation, field.name) for field in fields(Evaluation)}
    return values | {
        "per_class": [asdict(metrics) for metrics in evaluation.per_class],
        "confusion": torch.from_numpy(np.ascontiguousarray(evaluation.confusion)),
    }


def _unpacked_evaluation(packed: Mapping[str, Any] | None) -> Evaluation | None:
    if packed is None:
        return None
    return Evaluation(
        **dict(packed)
        | {
            "per_class": tuple(ClassMetrics(**metrics) for metrics in packed["per_class"]),
            "confusion": packed["confusion"].numpy(),
        }
    )
