"""``restore RUN_DIR --out FILE``: the pruned weights in the dense network's shapes again."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pruning_core.commands.answer import ANSWER_VERSION, Answer
from pruning_core.errors import RunError
from pruning_core.exporting.wording import count

if TYPE_CHECKING:
    from pruning_core.surgery.unit import Kept
    from pruning_core.tracing.network import Group

NAME = "restore"
HELP = "write the weights of a finished run in the dense network's shapes, with zeros"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add RUN_DIR and where to write."""
    parser.add_argument(
        "folder", type=Path, metavar="RUN_DIR", help="folder that a run has written"
    )
    parser.add_argument(
        "--out",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="safetensors file to write; the dense network's class loads it",
    )


def answer(arguments: argparse.Namespace) -> Answer:
    """Rebuild the run from its folder, expand its weights and write them."""
    folder: Path = arguments.folder
    if not folder.is_dir():
        raise RunError(f"There is no run folder '{folder}'. Give the --out of an earlier run.")

    from pruning_core.exporting.reopen import open_run
    from pruning_core.loading.weights import save_weights
    from pruning_core.surgery.restore import restore

    result = open_run(folder)
    state = restore(result.model.module, result.surgery).state_dict()
    save_weights(state, arguments.out)
    n_values = sum(tensor.numel() for tensor in state.values())
    n_zero = sum(int((tensor == 0).sum()) for tensor in state.values())
    marked = [group.name for group in result.network.groups if _differs(group, result.surgery.kept)]
    document = {
        "version": ANSWER_VERSION,
        "run": str(folder),
        "path": str(arguments.out),
        "model": result.recipe.model,
        "values": n_values,
        "zeros": n_zero,
        "other_statistics": marked,
    }
    text = (
        f"Wrote {arguments.out}: {count(n_values)} values in the shapes of "
        f"{result.recipe.model}, {count(n_zero)} of them zero."
    )
    if marked:
        text += (
            " It computes other numbers than the pruned network, because a normalisation runs "
            f"over units that left: {', '.join(marked)}."
        )
    return Answer(document, text)


def _differs(group: "Group", kept: "Kept") -> bool:
    """Tell whether a normalisation ran over units of the group that left."""
    cut = (
        kept.get(member.parameter, ())[member.axis : member.axis + 1] for member in group.members
    )
    return group.changes_normalisation and any(
        axes != () and axes[0] is not None and len(axes[0]) > 0 for axes in cut
    )
