"""``weights FILE``: a file of weights of any size, without an architecture or in one."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pruning_core.commands.answer import ANSWER_VERSION, Answer
from pruning_core.exporting.wording import count, size, table

if TYPE_CHECKING:
    from pruning_core.loading.fitting import Fit
    from pruning_core.streaming import Cut, Survey

NAME = "weights"
HELP = "look at a file of weights of any size; cut it exactly, or see how it fits a model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add FILE, the cut, and the architecture."""
    parser.add_argument("file", metavar="FILE", type=Path, help=".safetensors, .pt, .pth or .onnx")
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--ratio", type=float, help="share of the weights that goes, 0 to 1")
    amount.add_argument("--threshold", type=float, help="every magnitude below this goes")
    parser.add_argument(
        "--scope", choices=("global", "local"), default="global", help="one threshold, or one each"
    )
    parser.add_argument("--out", type=Path, help="write the file with zeros where weights go")
    parser.add_argument("--into", metavar="MODEL", help="compare with the tensors of a model")


def answer(arguments: argparse.Namespace) -> Answer:
    """Read the file in blocks and return what was found."""
    from pruning_core.errors import InvalidRecipeError
    from pruning_core.streaming import below, cuts, survey, weights_of, write_masked

    if arguments.into is not None:
        return _into(arguments.file, arguments.into)
    path, notes = _plain(arguments.file)
    tensors = weights_of(path)
    surveys = [survey(stored) for stored in tensors]
    found: dict[str, Cut] = {}
    if arguments.ratio is not None:
        found = cuts(tensors, surveys, arguments.ratio, arguments.scope)
    elif arguments.threshold is not None:
        found = below(tensors, surveys, arguments.threshold)
    document = _document(path, surveys, found, notes)
    if arguments.out is not None:
        if not found:
            raise InvalidRecipeError(
                "Say with --ratio or --threshold what goes, to write the masked file."
            )
        document["written"] = write_masked(path, arguments.out, found)
    return Answer(document, _text(document))


def _plain(path: Path) -> tuple[Path, list[str]]:
    """Return a safetensors file of the same weights: the file itself, or what it was read to."""
    from pruning_core.errors import DataError
    from pruning_core.loading.intake.store import find, take_in

    if not path.is_file():
        raise DataError(f"There is no file '{str(path)[:200]}'. Give the path of a weights file.")
    if path.suffix.lower() == ".safetensors":
        return path, []
    upload = take_in({path.name: path})
    group = upload.groups[0]
    return find(group.reference)[0], [*group.warnings, *upload.notes]


def _into(file: Path, identity: str) -> Answer:
    from pruning_core.loading.fitting import fit
    from pruning_core.loading.model import load_model
    from pruning_core.loading.providers.weights import read_tensors

    model = load_model(identity)
    tensors, _ = read_tensors(str(file))
    return _fit_answer(fit(model.module, tensors))


def _fit_answer(found: "Fit") -> Answer:
    rows = [
        (row.verdict, row.name, _shape(row.shape), row.file_name, _shape(row.file_shape))
        for row in found.rows
    ]
    names = ("verdict", "name", "shape", "file_name", "file_shape")
    document: dict[str, Any] = {
        "version": ANSWER_VERSION,
        "fits": found.is_whole,
        "problem": found.problem,
        "rules": list(found.rules),
        "rows": [dict(zip(names, row, strict=True)) for row in rows],
    }
    says = f"They do not fit: {found.problem}" if found.problem else "Every tensor fits."
    if found.rules and not found.problem:
        says = f"Every tensor fits, if you: {'; '.join(found.rules)}."
    header = ("Verdict", "In the model", "Shape", "In the file", "Shape there")
    return Answer(document, f"{says}\n\n{table(header, rows, left=5)}")


def _document(
    path: Path, surveys: "list[Survey]", found: "dict[str, Cut]", notes: list[str]
) -> dict[str, Any]:
    layers = []
    for each in surveys:
        entry = {
            "name": each.name,
            "shape": list(each.shape),
            "weights": each.n,
            "zeros": each.zeros,
            "largest": each.largest,
            "mean": each.mean,
            "not_finite": each.n_bad,
        }
        if found:
            cut = found[each.name]
            entry |= {"threshold": cut.threshold, "removed": cut.removed}
        layers.append(entry)
    return {
        "version": ANSWER_VERSION,
        "bytes": path.stat().st_size,
        "weights": sum(each.n for each in surveys),
        "zeros": sum(each.zeros for each in surveys),
        "removed": sum(cut.removed for cut in found.values()),
        "notes": notes,
        "layers": layers,
    }


def _text(document: dict[str, Any]) -> str:
    has_cut = "threshold" in document["layers"][0]
    rows = [
        (
            layer["name"],
            _shape(layer["shape"]),
            count(layer["weights"]),
            count(layer["zeros"]),
            f"{layer['largest']:.4g}",
            f"{layer['mean']:.4g}",
            *((f"{layer['threshold']:.6g}", count(layer["removed"])) if has_cut else ()),
        )
        for layer in document["layers"]
    ]
    header: tuple[str, ...] = ("Tensor", "Shape", "Weights", "Zeros", "Largest", "Mean |w|")
    head = (
        f"{count(document['weights'])} weights in {len(rows)} tensors, "
        f"{count(document['zeros'])} of them zero; {size(document['bytes'])}"
    )
    if has_cut:
        header = (*header, "Threshold", "Goes")
        head += f"; {count(document['removed'])} go (exact)"
    if "written" in document:
        head += f"; {count(document['written'])} zeros written"
    parts = [head, *document["notes"], table(header, rows, left=2)]
    return "\n\n".join(parts)


def _shape(shape: "tuple[int, ...] | list[int] | None") -> str:
    return "-" if shape is None else " x ".join(map(str, shape)) or "one number"
