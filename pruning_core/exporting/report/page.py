"""The page itself: sections of HTML made from the run document and the recipe."""

from collections.abc import Sequence
from html import escape
from typing import Any, Final

from pruning_core.exporting.document import STAGES, Document
from pruning_core.exporting.int8_table import HEADER as INT8_HEADER
from pruning_core.exporting.int8_table import int8_rows, int8_sentences
from pruning_core.exporting.metric_table import (
    CLASS_HEADER,
    STAGE_TITLES,
    class_rows,
    headlines,
    how,
    measured_stages,
    metric_rows,
    task_of,
)
from pruning_core.exporting.report.charts import Bar, Line, bar_chart, line_chart
from pruning_core.exporting.report.style import CSS
from pruning_core.exporting.titles import criterion_name
from pruning_core.exporting.wording import count, duration, percent, ratio
from pruning_core.granularities import GRANULARITIES
from pruning_core.planning.recipe import Recipe
from pruning_core.tasks import ACCURACY, Metric

SAVINGS: Final = (
    ("params", "Parameters"),
    ("nonzero", "Non-zero parameters"),
    ("macs", "MACs for one sample"),
    ("bytes", "Bytes as safetensors"),
)
MOST_ROWS: Final = 40
MOST_CLASSES: Final = 20
_DATA_TITLES: Final = {
    "title": "Data set",
    "source": "Copy of the data",
    "n_calibration": "Calibration samples the criterion saw",
    "n_train": "Training samples of one epoch",
    "n_validation": "Validation samples",
    "n_test": "Test samples",
}
_RANKED: Final = {
    "global": "all layers ranked together",
    "local": "each layer ranked by itself",
    "erk": "shares by layer size, ERK",
}
_EXACT: Final = '<span class="badge exact">EXACT</span>'
_MEASURED: Final = '<span class="badge measured">MEASURED</span>'


def render(document: Document, recipe: Recipe) -> str:
    """Return the whole report; it needs no network, no script and no other file.

    Args:
        document: What :func:`pruning_core.exporting.document.run_document` returns.
        recipe: The recipe of the same run.
    """
    title = f"Pruning report: {document['model_title']}"
    sections = (
        _savings(document),
        _quality(document),
        _int8(document),
        _curves(document),
        _classes(document),
        _layers(document),
        _notes(document),
        _recipe(document, recipe),
        _provenance(document),
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head><body><main>"
        f"<h1>{escape(title)}</h1><p class='lead'>{escape(summary(document, recipe))}</p>"
        + "".join(section for section in sections if section)
        + "</main></body></html>\n"
    )


def in_words(recipe: Recipe, metric: Metric = ACCURACY) -> str:
    """Say how the target is reached: ``in 5 rounds, with weights rewound``."""
    schedule = recipe.schedule
    how = "in one shot" if schedule.rounds == 1 else f"in {schedule.rounds} rounds"
    if schedule.gradual and schedule.rounds > 1:
        how = f"gradually, in {schedule.rounds} steps of one training"
    if schedule.first_step is not None:
        how = (
            f"in at most {schedule.rounds} rounds whose steps followed the validation {metric.name}"
        )
    if schedule.weights == "reinitialise":
        how += ", with fresh random weights"
    elif schedule.weights == "rewind":
        epoch = schedule.rewind_epoch
        how += f", with weights rewound to {f'epoch {epoch}' if epoch else 'before training'}"
    if schedule.max_drop is not None:
        way = "fell" if metric.higher_is_better else "rose"
        how += f", as far as validation {metric.name} {way} by at most {schedule.max_drop:g} "
        how += metric.loss_unit
    return how


def summary(document: Document, recipe: Recipe) -> str:
    """Say in two or three sentences what was asked for, what it saved and what it cost."""
    granularities = [GRANULARITIES[part.granularity] for part in recipe.parts.values()]
    what = " and ".join(granularity.title.lower() for granularity in granularities)
    way = in_words(recipe, task_of(document).metrics[0])
    n_epochs = len(document["epochs"])
    tuned = f" and fine-tuned for {n_epochs} epochs" if n_epochs else ""
    removes = any(granularity.removes for granularity in granularities)
    key, noun = ("macs", "MACs") if removes else ("nonzero", "non-zero parameters")
    before, after = document[key]["before"], document[key]["after"]
    text = (
        f"{document['model_title']} was pruned by {what} with the criterion "
        f"{criterion_name(recipe)} ({_RANKED[recipe.scope]}), {way}{tuned}. It "
        f"went from {count(before)} to {count(after)} {noun} ({ratio(before, after)} smaller)."
    )
    stages, reached = measured_stages(document), headlines(document)
    if not stages:
        return text + " No accuracy was measured, because the run had no data."
    metric, last = task_of(document).metrics[0], stages[-1]
    return (
        f"{text} Test {metric.name} went from {metric.text(reached['dense'])} to "
        f"{metric.text(reached[last])} (n = {count(document['n'][last])})."
    )


def _savings(document: Document) -> str:
    rows = [
        (
            title,
            count(document[key]["before"]),
            count(document[key]["after"]),
            ratio(document[key]["before"], document[key]["after"]),
            percent(1 - document[key]["after"] / max(1, document[key]["before"])),
        )
        for key, title in SAVINGS
    ]
    header = ("", "Before", "After", "Ratio", "Saved")
    return _section(
        f"What it saves {_EXACT}",
        _table(header, rows)
        + "<p class='note'>Counted from the tensors of the pruned network, not estimated. A MAC is "
        "one multiply-accumulate of a matrix product or convolution (2 FLOPs). MACs say nothing "
        "about time: masked weights are still multiplied. Bytes are those of the file "
        "model.safetensors.</p>",
    )


def _quality(document: Document) -> str:
    stages = measured_stages(document)
    if not stages:
        return _section("What it costs", "<p>Not measured: the run had no data.</p>")
    data = document["data"] or {}
    where = f"{data.get('title', '')}, {data.get('source', '')}, held-out test split"
    return _section(
        f"What it costs {_MEASURED}",
        _table(("", *(STAGE_TITLES[stage] for stage in stages)), metric_rows(document))
        + f"<p class='note'>Measured on {escape(where)}. Nothing was chosen on these samples. "
        f"{escape(how(document))}</p>",
    )


def _int8(document: Document) -> str:
    found = document["quantised"]
    if found is None:
        return ""
    notes = "".join(f"<p class='note'>{escape(text)}</p>" for text in int8_sentences(found))
    title = f"In int8 ({escape(found['kind'])}) {_MEASURED}"
    return _section(title, _table(INT8_HEADER, int8_rows(found)) + notes)


def _curves(document: Document) -> str:
    drawn = [
        f"<figure><figcaption>{name}{f' ({unit})' if unit else ''}</figcaption>{drawing}</figure>"
        for name, unit, drawing in _curve_figures(document)
    ]
    if not document["epochs"]:
        return ""
    return _section(f"Fine-tuning {_MEASURED}", f"<div class='figures'>{''.join(drawn)}</div>")


def _curve_figures(document: Document) -> list[tuple[str, str, str]]:
    """Return title, unit and drawing of each curve over the epochs; none without epochs."""
    epochs = document["epochs"]
    found = []
    task = task_of(document)
    metric = task.metrics[0]
    own = "accuracy" if task.counts_classes else "score"
    for name, key, scale, unit in (
        (_capital(metric.name), own, metric.scaled(1.0), "%" if metric.unit else ""),
        ("Loss", "loss", 1.0, task.loss_name),
    ):
        lines = [
            Line("training", "first", _scaled(epochs, key, scale)),
            Line("validation", "second", _scaled(epochs, f"validation_{key}", scale)),
        ]
        if not any(value is not None for line in lines for value in line.values):
            continue
        end = lines[1].values[-1]
        spoken = "not finite" if end is None else f"{end:.4g}"
        alt = (
            f"{name} over {len(epochs)} epochs of fine-tuning; validation ends at "
            f"{f'{spoken} {unit}'.strip()}."
        )
        found.append((name, unit, line_chart(lines, alt=alt, start=epochs[0]["epoch"])))
    return found


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def figures_of(document: Document) -> dict[str, str]:
    """Return the drawings of the report by name, as SVG that takes its colours from a page."""
    curves = {name.lower(): drawing for name, _, drawing in _curve_figures(document)}
    layers, _ = _layer_bars(document)
    return curves | ({"layers": layers} if layers else {})


def _scaled(epochs: Sequence[Document], key: str, scale: float) -> list[float | None]:
    return [None if epoch[key] is None else scale * epoch[key] for epoch in epochs]


def _classes(document: Document) -> str:
    details = document["details"]
    stages = [stage for stage in STAGES if details[stage] is not None]
    if not stages or not details[stages[0]]["per_class"]:
        return ""
    per_stage = [details[stage]["per_class"] for stage in stages]
    names = (document["data"] or {}).get("classes") or []
    rows = [
        (
            names[index] if index < len(names) else str(index),
            count(classes[0]["n"]),
            *(percent(found["recall"]) for found in classes),
        )
        for index, classes in enumerate(zip(*per_stage, strict=True))
    ]
    header = ("Class", "n", *(f"{STAGE_TITLES[stage]} recall" for stage in stages))
    last = stages[-1]
    return (
        _section(f"Who pays: recall of each class {_MEASURED}", _table(header, rows))
        + _section(
            f"Every class, {STAGE_TITLES[last].lower()} {_MEASURED}",
            f"<div class='wide'>{_table(CLASS_HEADER, class_rows(document, last, names))}</div>",
        )
        + _confusion(details[last]["confusion"], names, STAGE_TITLES[last].lower())
    )


def _confusion(counts: Sequence[Sequence[int]], names: Sequence[str], stage: str) -> str:
    """Return the confusion matrix as a table; none where it would be too wide to read."""
    if len(counts) > MOST_CLASSES:
        return ""
    titles = [names[place] if place < len(names) else str(place) for place in range(len(counts))]
    rows = [(name, *map(count, row)) for name, row in zip(titles, counts, strict=True)]
    return _section(
        f"Confusion matrix, {stage} {_MEASURED}",
        f"<div class='wide'>{_table(('True class', *titles), rows)}</div>"
        "<p class='note'>Test samples: rows are true classes, columns are answers.</p>",
    )


def _layers(document: Document) -> str:
    drawing, part = _layer_bars(document)
    if not drawing:
        return ""
    header = (
        "Layer", "Kind", "Parameters", "after", "Non-zero", "after", "MACs", "after", "MACs saved",
    )  # fmt: skip
    rows = [_layer_row(layer) for layer in document["layers"]]
    return _section(
        f"Layer by layer {_EXACT}",
        f"<figure><figcaption>Non-zero parameters left (filled) of all (outline){part}"
        f"</figcaption>{drawing}</figure>"
        f"<div class='wide'>{_table(header, rows, n_text=2)}</div>",
    )


def _layer_bars(document: Document) -> tuple[str, str]:
    """Return what is left of each layer as a drawing, and which layers it shows; maybe empty."""
    layers = [layer for layer in document["layers"] if layer["before"]["params"]]
    if not layers:
        return "", ""
    largest = sorted(layers, key=lambda layer: -layer["before"]["params"])[:MOST_ROWS]
    shown = [layer for layer in layers if layer in largest]
    bars = [
        Bar(
            layer["name"] or "(root)",
            layer["before"]["params"],
            layer["after"]["nonzero"],
            f"{count(layer['after']['nonzero'])} of {count(layer['before']['params'])}",
        )
        for layer in shown
    ]
    part = "" if len(shown) == len(layers) else f", the {MOST_ROWS} largest of {len(layers)} layers"
    alt = f"Non-zero parameters left in {len(shown)} layers; the numbers are in the table below."
    return bar_chart(bars, alt=alt), part


def _layer_row(layer: Document) -> tuple[str, ...]:
    before, after = layer["before"], layer["after"]
    saved = percent(1 - after["macs"] / before["macs"]) if before["macs"] else "-"
    return (
        layer["name"] or "(root)",
        layer["kind"],
        count(before["params"]),
        count(after["params"]),
        count(before["nonzero"]),
        count(after["nonzero"]),
        count(before["macs"]),
        count(after["macs"]),
        saved,
    )


def _notes(document: Document) -> str:
    lines = [
        f"<li>{f'<code>{escape(site)}</code>: ' if site else ''}{escape(text)}</li>"
        for site, texts in document["notes"].items()
        for text in texts
    ]
    lines += [f"<li>{escape(text)}</li>" for text in document["problems"].values()]
    return _section("What to know", f"<ul>{''.join(lines)}</ul>") if lines else ""


def _recipe(document: Document, recipe: Recipe) -> str:
    rows = [
        ("Recipe fingerprint", document["recipe_fingerprint"]),
        ("Mask fingerprint", document["mask_fingerprint"]),
        ("SHA-256 of the dense weights", document["model_sha256"]),
    ]
    return _section(
        "Recipe",
        f"<pre>{escape(recipe.to_json())}</pre>{_table(('', ''), rows, n_text=2)}"
        "<p class='note'>The same recipe and seed give the same masks, bit for bit.</p>",
    )


def _provenance(document: Document) -> str:
    onnx, surgery = document["onnx"], document["surgery"]
    rows = [("Form of the pruned network", _sentence(surgery["form"], surgery["reason"]))]
    if onnx["max_abs_difference"] is not None:
        rows.append(
            (
                "ONNX against PyTorch",
                f"largest difference {onnx['max_abs_difference']:.2g} on {onnx['n']} samples",
            )
        )
    data = document["data"] or {}
    rows += [(title, _text(data[key])) for key, title in _DATA_TITLES.items() if key in data]
    rows += [
        (f"Seconds spent on '{stage}'", duration(value))
        for stage, value in document["seconds"].items()
    ]
    rows += [(key, _text(value)) for key, value in document["environment"].items()]
    return _section("Where the numbers come from", _table(("", ""), rows, n_text=2))


def _sentence(form: str, reason: str) -> str:
    return f"{form} ({reason})" if reason else form


def _text(value: Any) -> str:
    return count(value) if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _section(title: str, body: str) -> str:
    """Return a section; ``title`` and ``body`` are HTML already."""
    return f"<section><h2>{title}</h2>{body}</section>"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, n_text: int = 1) -> str:
    """Return a table of escaped cells: ``n_text`` columns of text, then numbers."""

    def cell(tag: str, column: int, text: str) -> str:
        style = "" if column < n_text else ' class="number"'
        return f"<{tag}{style}>{escape(text)}</{tag}>"

    head = "".join(cell("th", column, text) for column, text in enumerate(header))
    body = "".join(
        f"<tr>{''.join(cell('td', column, text) for column, text in enumerate(row))}</tr>"
        for row in rows
    )
    head = f"<thead><tr>{head}</tr></thead>" if any(header) else ""
    return f"<table>{head}<tbody>{body}</tbody></table>"
