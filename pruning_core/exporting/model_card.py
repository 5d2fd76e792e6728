"""A pruned network as a folder in the layout of the Hugging Face Hub, written without network."""

import json
import re
from pathlib import Path
from typing import Any, Final

from pruning_core.errors import ExportError
from pruning_core.exporting.document import Document, run_document
from pruning_core.exporting.exporter import EXPORTERS
from pruning_core.exporting.metric_table import (
    STAGE_TITLES,
    how,
    measured_stages,
    metric_rows,
    task_of,
)
from pruning_core.exporting.report.page import SAVINGS, summary
from pruning_core.exporting.result import RunResult
from pruning_core.exporting.writing import write_text
from pruning_core.loading.dataset import DATASETS
from pruning_core.loading.weights import save_weights
from pruning_core.loading.weights_only import state_in_file
from pruning_core.tasks import CLASSES

CARD: Final = "README.md"
CONFIG: Final = "config.json"
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]<>#|~$])")
_HUB_TASKS: Final = {
    "regression": "tabular-regression",
    "segmentation": "image-segmentation",
    "language_modelling": "text-generation",
}
_TAKEN_ALONG: Final = ("recipe", "index_map", "script", "numbers")


def write_hub_folder(result: RunResult, folder: Path) -> RunResult:
    """Write card, configuration, weights and what repeats the run into ``folder``.

    Source that loads the weights without this project is added where the network has such a form.

    Raises:
        ExportError: If a file cannot be written.
    """
    from pruning_core.exporting.formats.python import SOURCE, write_source

    problems: dict[str, str] = {}
    weights = "model.safetensors"
    try:
        write_source(result, folder, weights)
    except ExportError as error:
        problems["python"] = str(error)
        (folder / SOURCE).unlink(missing_ok=True)
        save_weights(state_in_file(result.surgery.module), folder / weights)
    for key in _TAKEN_ALONG:
        entry = EXPORTERS[key]
        entry.write(result, folder / entry.file_name)
    source = SOURCE if not problems else None
    for key, sentence in problems.items():
        result = result.with_problem(key, sentence)
    document = run_document(result)
    write_text(folder / CONFIG, json.dumps(config_of(result, source), indent=2) + "\n")
    write_text(folder / CARD, card_of(document, result, source))
    return result


def config_of(result: RunResult, source: str | None) -> dict[str, Any]:
    """Return ``config.json``: the network, its inputs, its classes and how it was pruned."""
    classes = result.data.classes if result.data else ()
    return {
        "model_type": "pruned",
        "architectures": [type(result.model.module).__name__],
        "base_model": result.recipe.model,
        "base_model_sha256": result.model.weights_sha256,
        "source": source,
        "inputs": [
            {"shape": ["batch", *tensor.shape[1:]], "dtype": str(tensor.dtype).split(".")[-1]}
            for tensor in result.model.inputs.tensors
        ],
        "num_labels": len(classes) or None,
        "id2label": {str(place): name for place, name in enumerate(classes)},
        "label2id": {name: place for place, name in enumerate(classes)},
        "pruning": {
            "form": result.surgery.form,
            "granularities": [part.granularity for part in result.recipe.parts.values()],
            "criterion": result.recipe.rated_by,
            "recipe_fingerprint": result.recipe.fingerprint,
            "mask_fingerprint": result.plan.fingerprint,
        },
    }


def card_of(document: Document, result: RunResult, source: str | None) -> str:
    """Return the model card: front matter for the Hub, then what was measured, in tables."""
    title = document["model_title"]
    data = document["data"]
    parts = [
        _front_matter(document, reads_images=result.model.inputs.tensors[0].ndim == 4),
        f"# {_plain(title)}, pruned",
        _plain(summary(document, result.recipe)),
        "## What it saves\n\nCounted from the tensors of the pruned network; exact.\n\n"
        + _table(
            ("", "Before", "After"),
            [
                (name, f"{document[key]['before']:,}", f"{document[key]['after']:,}")
                for key, name in SAVINGS
            ],
        ),
    ]
    stages = measured_stages(document)
    if stages and data is not None:
        about = _about(data["key"])
        parts.append(
            f"## What it costs\n\nMeasured on {_plain(data['title'])} ({_plain(data['source'])}), "
            f"held-out test split.{about}\n\n"
            + _table(("", *(STAGE_TITLES[stage] for stage in stages)), metric_rows(document))
            + f"\n\n{how(document)}"
        )
    else:
        parts.append("## What it costs\n\nNot measured: the run had no data.")
    parts.append(_use(result, source))
    parts.append(
        "## Repeat the run\n\n`reproduce.py` prunes and fine-tunes again and stops if the masks "
        f"differ. Mask fingerprint `{document['mask_fingerprint']}`, recipe fingerprint "
        f"`{document['recipe_fingerprint']}`."
    )
    notes = [_plain(text) for texts in document["notes"].values() for text in texts]
    notes += [_plain(text) for text in document["problems"].values()]
    if notes:
        parts.append("## What to know\n\n" + "\n".join(f"- {text}" for text in notes))
    return "\n\n".join(parts) + "\n"


def _front_matter(document: Document, *, reads_images: bool) -> str:
    """Return what the Hub reads: tags, and the measured metrics as a model index."""
    stages = measured_stages(document)
    data = document["data"]
    values: list[str] = ["library_name: pytorch", "tags:", "- pruning", "- safetensors"]
    if stages and data is not None:
        last = stages[-1]
        task = task_of(document)
        named = ("accuracy", "precision", "recall", "f1")
        found = {metric: document[metric][last] for metric in named}
        if not task.counts_classes:
            values_of = document["details"][last]["values"]
            found = {metric.key: values_of[metric.key] for metric in task.metrics}
        name = json.dumps(f"{document['model_title']}, pruned")
        values += [
            *_pipeline_tag(task.key, reads_images=reads_images),
            "metrics:",
            *(f"- {metric}" for metric in found),
            "model-index:",
            f"- name: {name}",
            "  results:",
            "  - task:",
            f"      type: {_HUB_TASKS.get(task.key, task.key)}",
            "    dataset:",
            f"      name: {json.dumps(data['title'])}",
            f"      type: {json.dumps(data['key'])}",
            "      split: test",
            "    metrics:",
        ]
        for metric, value in found.items():
            if value is not None:
                values += [f"    - type: {metric}", f"      value: {value!r}"]
    return "\n".join(["---", *values, "---"])


def _pipeline_tag(task: str, *, reads_images: bool) -> list[str]:
    known = {"segmentation": "image-segmentation", "language_modelling": "text-generation"}
    tag = known.get(task)
    if task == CLASSES and reads_images:
        tag = "image-classification"
    return [f"pipeline_tag: {tag}"] if tag else []


def _use(result: RunResult, source: str | None) -> str:
    shapes = _plain(result.model.inputs.shapes)
    if source is None:
        return (
            "## Use it\n\n`model.safetensors` holds every tensor under its original name; load it "
            f"into the class of `{_plain(result.recipe.model)}` with the sizes it says. Inputs: "
            f"{shapes}."
        )
    module = source.removesuffix(".py")
    return (
        f"## Use it\n\nNeeds PyTorch alone. Inputs of one sample: {shapes}.\n\n"
        f"```python\nfrom {module} import load\n\nnetwork = load()\nlogits = network(inputs)\n```"
    )


def _about(key: str) -> str:
    entry = DATASETS.get(key)
    return f" {entry.description}" if entry is not None else ""


def _table(header: tuple[str, ...], rows: Any) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(_plain(str(c)) for c in line) + " |" for line in lines)


def _plain(text: str) -> str:
    """Return foreign text as Markdown shows it letter for letter, on one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
