"""Files of trained weights, as packages ship them, through the whole way without their code.

    python -m benchmarks.tried_models FILE... [--write docs/tried_models.md]

Each file is screened and opened, looked at (histogram and heatmap of its largest matrix), 60 % of
its weights pruned by magnitude over all layers, written, opened again, and exported as masks,
packed weights, weights in dense shapes and index map. What was pruned is compared with
``torch.nn.utils.prune``, and every form that is written with the original values times the masks.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from pruning_core import export
from pruning_core.errors import PruningError
from pruning_core.exporting.reopen import open_run
from pruning_core.exporting.sparse import read_sparse
from pruning_core.figures.histogram import bin_scores
from pruning_core.figures.raster import rasterise
from pruning_core.loading.intake.store import find, take_in
from pruning_core.loading.weights import read_weights
from pruning_core.planning.recipe import Ratio, Recipe
from pruning_core.runs.pipeline import execute, write_run

SHARE: Final = 0.6
_FORMS: Final = ("masks", "sparse", "dense_shapes", "index_map")


def tried(path: Path, folder: Path) -> str:
    """Return a row of the table for one file."""
    began = time.monotonic()
    size = f"{path.stat().st_size / 1e6:.2f} MB"
    try:
        upload = take_in({path.name: path})
        group = upload.groups[0]
        recipe = Recipe(model=f"weights:{group.reference}", target=Ratio(value=SHARE))
        *_, finished = execute(recipe)
        result = finished.result  # type: ignore[union-attr]
        write_run(result, folder)
        original = read_weights(find(group.reference)[0])
        _explore(original)
        found = _checked(original, folder)
        count = f"{group.n_tensors} tensors, {group.n_values:,} values"
        notes = " ".join([*group.warnings, *upload.notes][:2])
        says = f"opened; {found}" + (f"; {notes}" if notes else "")
    except PruningError as error:
        count, says = "-", f"refused: {error}"
    return f"| {path.name} | {size} | {count} | {says} | {time.monotonic() - began:.0f} s |"


def _explore(original: dict[str, Tensor]) -> None:
    """Make the pictures of the largest matrix, and hold them against its values."""
    largest = max((x for x in original.values() if x.ndim > 1), key=lambda x: x.numel())
    matrix = largest.float().abs().reshape(len(largest), -1).numpy()
    raster, bins = rasterise(matrix, "|w|"), bin_scores(matrix.ravel())
    if float(raster.cells.max()) != float(matrix.max()) or int(bins.counts.sum()) != matrix.size:
        raise AssertionError("a picture shows other values")


def _checked(original: dict[str, Tensor], folder: Path) -> str:
    """Compare every form that was written with the original values; return what was found."""
    weights = read_weights(folder / "model.safetensors")
    masks = read_weights(export(folder, "masks", folder / "masks.safetensors"))
    for name, tensor in original.items():
        expected = tensor * masks[name] if name in masks else tensor
        if not torch.equal(weights[name], expected):
            raise AssertionError(f"'{name}' holds other values")
    if weights.keys() != original.keys():
        raise AssertionError("names differ")
    again = open_run(folder).surgery.module.state_dict()
    if sorted(x.numel() for x in again.values()) != sorted(x.numel() for x in weights.values()):
        raise AssertionError("the run opens with other tensors")
    forms = ["masks"]
    for form in _FORMS[1:]:
        try:
            path = export(folder, form, folder / f"form.{form}")
        except PruningError:
            continue  # says why it has no such form; packed weights need zeros in large tensors
        forms.append(form)
        if form != "index_map":
            read = read_sparse(path) if form == "sparse" else read_weights(path)
            if any(not torch.equal(read[name], weights[name]) for name in weights):
                raise AssertionError(f"{form} holds other values")
    return f"{_pruned(original, masks)}; written and read back: {', '.join(forms)}"


def _pruned(original: dict[str, Tensor], masks: dict[str, Tensor]) -> str:
    """Return how many weights went, compared with what torch prunes."""
    names = [name for name, mask in masks.items() if original[name].ndim > 1]
    layers = []
    for name in names:
        layer = nn.Module()
        layer.w = nn.Parameter(original[name].float())
        layers.append(layer)
    total = sum(original[name].numel() for name in names)
    last = [name for name in names if int(masks[name].sum()) == 1]  # which torch would take too
    gone = sum(int((~masks[name]).sum()) for name in names) + len(last)
    prune.global_unstructured([(layer, "w") for layer in layers], prune.L1Unstructured, amount=gone)
    values = [dict(layer.named_buffers())["w_mask"].bool().numpy() for layer in layers]
    differ = [
        np.abs(original[name].float().numpy()[theirs != masks[name].numpy()])
        for theirs, name in zip(values, names, strict=True)
        if name not in last
    ]
    tied = np.concatenate(differ)
    if len(np.unique(tied)) > 1:
        raise AssertionError("other weights were pruned than torch prunes")
    agree = "the masks of torch.nn.utils.prune"
    if len(tied):
        agree += f" but for {len(tied)} of one magnitude, which have no order"
    if last:
        agree += f"; {len(last)} tensors keep their last weight"
    return f"{gone - len(last):,} of {total:,} weights pruned, {agree}"


def main() -> None:
    """Try the files and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--write", type=Path, help="append the rows to this file")
    arguments = parser.parse_args()
    for path in arguments.files:
        with tempfile.TemporaryDirectory() as folder:
            row = tried(path, Path(folder))
        print(row, flush=True)
        if arguments.write:
            with arguments.write.open("a", encoding="utf-8") as stream:
                stream.write(f"{row}\n")


if __name__ == "__main__":
    main()
