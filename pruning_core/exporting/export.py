"""One file of one run: from a result in memory, from a pruned network, or from a run folder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pruning_core.errors import ExportError
from pruning_core.exporting.exporter import EXPORTERS
from pruning_core.exporting.reopen import open_run
from pruning_core.exporting.result import RunResult
from pruning_core.loading.model import LoadedModel
from pruning_core.planning.plan import Plan
from pruning_core.preview import preview
from pruning_core.surgery.prune import Pruned
from pruning_core.tracing.network import Network


def export(
    run: RunResult | Pruned | Path | str,
    format: str,  # noqa: A002 - the word of the command line
    path: Path | str | None = None,
    *,
    model: LoadedModel | None = None,
    network: Network | None = None,
    plan: Plan | None = None,
    allow_python: Callable[[str], bool] = lambda _: True,
) -> Path:
    """Write one file of ``run`` and return where it is; the file appears whole or not at all.

    Args:
        run: A finished run, the folder it was written to, or what ``prune`` returned (perhaps
            fine-tuned since).
        format: Key in ``EXPORTERS``, e.g. safetensors, onnx, python or report.
        path: File or folder to write to; None means the run's own folder.
        model: Of a pruned network: the model it was pruned from.
        network: Of a pruned network: the trace of that model.
        plan: Of a pruned network: the plan that was carried out.
        allow_python: Of a run folder: tells which models may be loaded if that runs code.

    Raises:
        UnknownNameError: If there is no such format.
        ExportError: If the run folder is damaged, the network has no such form, or the file cannot
            be written.
    """
    entry = EXPORTERS[format]
    if isinstance(run, Path | str):
        result, home = open_run(Path(run), allow_python=allow_python), Path(run)
    elif path is None:
        raise ExportError("Only a run folder has a place of its own: say where to write the file.")
    elif isinstance(run, RunResult):
        result, home = run, Path(path)
    elif model is None or network is None or plan is None:
        raise ExportError(
            "A pruned network does not know where it came from: give model, network and plan too."
        )
    else:
        result, home = result_of(run, model, network, plan), Path(path)
    target = home if path is None else Path(path)
    if target.is_dir():
        target = target / entry.file_name
    entry.write(result, target)
    return target


def result_of(surgery: Pruned, model: LoadedModel, network: Network, plan: Plan) -> RunResult:
    """Return the result of a run of which only sizes are known: nothing was measured."""
    predicted = preview(network, plan)
    parameters = list(surgery.module.parameters())
    counted = replace(
        predicted.after,
        params=sum(parameter.numel() for parameter in parameters),
        nonzero=sum(int(parameter.count_nonzero()) for parameter in parameters),
    )
    return RunResult(
        recipe=plan.recipe,
        model=model,
        network=network,
        plan=plan,
        preview=predicted,
        counted=counted,
        surgery=surgery,
        dense=None,
        pruned=None,
        tuned=None,
        epochs=(),
        seconds={},
        environment={},
        data=None,
    )
