"""``compare RUN_DIR RUN_DIR ...``: finished runs beside each other, two of them in full."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pruning_core.commands.answer import ANSWER_VERSION, Answer
from pruning_core.commands.interruption import was_asked
from pruning_core.commands.run import tell
from pruning_core.errors import RunError
from pruning_core.exporting.wording import count, percent, table
from pruning_core.steps import run_to_end

if TYPE_CHECKING:
    from pruning_core.comparing.compare import Side
    from pruning_core.comparing.variant import Variant
    from pruning_core.planning.recipe import Recipe

NAME = "compare"
HELP = "put finished runs beside each other: numbers, settings, masks and answers"
_STAGES: Final = ("dense", "int8")
_MOST: Final = 50
_LISTED: Final = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folders of the runs."""
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="folder that a run has written; FOLDER:dense is the network it began with, "
        "FOLDER:int8 its int8 file",
    )
    parser.add_argument(
        "--numbers-only",
        action="store_true",
        help="of two runs too, compare only numbers and settings, not masks and answers",
    )


def answer(arguments: argparse.Namespace) -> Answer:
    """Read the reports; of two runs also compare masks and answers on the same test samples."""
    if not 2 <= len(arguments.runs) <= _MOST:
        raise RunError(f"Give 2 to {_MOST} runs to compare; you gave {len(arguments.runs)}.")
    from pruning_core.comparing.variant import AXES
    from pruning_core.planning.difference import settings

    sides = [_side(name) for name in arguments.runs]
    known = {folder: _read(folder) for folder in dict.fromkeys(side.folder for side in sides)}
    variants = [_variant(side, known[side.folder][1]) for side in sides]
    differences = settings([known[side.folder][0] for side in sides])
    document: dict[str, Any] = {
        "version": ANSWER_VERSION,
        "runs": [asdict(one) for one in variants],
        "differences": [asdict(one) for one in differences],
    }
    header = ("", *arguments.runs)
    rows = [
        (axis.title, *(_written(name, one) for one in variants))
        for name, axis in AXES.items()
        if any(one.numbers[name] is not None for one in variants)
    ]
    texts = [table(header, rows), _settings(header, differences)]
    if len(sides) == 2 and not arguments.numbers_only:
        found = _compared(sides[0], sides[1])
        document |= found
        texts += _found_texts(found)
    return Answer(document, "\n\n".join(text for text in texts if text))


def _side(name: str) -> "Side":
    from pruning_core.comparing.compare import Side

    head, colon, stage = name.rpartition(":")
    if colon and stage in _STAGES and not Path(name).is_dir():
        folder = Path(head)
    else:
        folder, stage = Path(name), "tuned"
    if not folder.is_dir():
        raise RunError(f"There is no run folder '{folder}'. Give the --out of an earlier run.")
    return Side(folder, stage)  # type: ignore[arg-type]


def _read(folder: Path) -> "tuple[Recipe, tuple[Variant, ...]]":
    from pruning_core.comparing.variant import variants_of
    from pruning_core.exporting.reopen import damaged, read_document, read_recipe
    from pruning_core.runs.speed import read_speed

    recipe, document = read_recipe(folder), read_document(folder / "report.json")
    try:
        return recipe, variants_of(folder.name, document, read_speed(folder))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(folder / "report.json", error) from error


def _variant(side: "Side", variants: "tuple[Variant, ...]") -> "Variant":
    from pruning_core.comparing.variant import final

    if side.stage == "tuned":
        return final(variants)
    found = [one for one in variants if one.stage == side.stage]
    if not found:
        raise RunError(f"The run '{side.folder}' has no int8 file.")
    return found[0]


def _written(name: str, variant: "Variant") -> str:
    from pruning_core.comparing.variant import AXES

    value = variant.numbers[name]
    if value is None:
        return "not measured"
    if AXES[name].is_share:
        low, high = (100 * end for end in variant.interval or (0, 0))
        interval = f" ({low:.2f} to {high:.2f})" if name == variant.metric.key else ""
        return percent(value) + interval
    measured = AXES[name].known == "MEASURED"
    return f"{value:.4g}" if measured else count(int(value))


def _settings(header: tuple[str, ...], differences: Any) -> str:
    if not differences:
        return "The recipes are the same."
    rows = [(one.setting, *one.values) for one in differences]
    return table(("Settings that differ", *header[1:]), rows)


def _compared(first: "Side", second: "Side") -> dict[str, Any]:
    """Compare masks and answers, with progress on stderr."""
    from pruning_core.comparing.compare import compare

    steps = compare(first, second, should_stop=was_asked)
    found = run_to_end(steps, lambda progress: tell(f"{progress[1]} ..."))
    if found["behaviour"]:
        for key in ("lost", "won"):
            for example in found["behaviour"].get(key, ()):
                del example["picture"]
    return found


def _found_texts(found: dict[str, Any]) -> list[str]:
    """Return masks and answers as tables and sentences."""
    texts = [f"Not compared: {reason}" for reason in found["reasons"].values()]
    if found["overlap"]:
        keys = ("both", "only_first", "only_second", "neither")
        rows = [
            (one["layer"] or "(root)", *(count(one[key]) for key in keys))
            for one in found["overlap"]
        ]
        header = ("Parameters", "gone in both", "only in 1st", "only in 2nd", "stay in both")
        texts.append(table(header, rows))
    if found["behaviour"]:
        texts.append(_behaviour(found["behaviour"]))
    return texts


def _behaviour(found: dict[str, Any]) -> str:
    if "values" in found:
        return _alike(found)
    low, high = (100 * end for end in found["change"])
    first, second = found["accuracy"]
    lines = [
        f"On the same {count(found['n'])} test samples ({found['title']}, {found['source']}): "
        f"{percent(first)} and {percent(second)} right, {100 * (second - first):+.2f} points "
        f"(95 % interval {low:+.2f} to {high:+.2f}); the same answer to {percent(found['same'])}.",
        f"Both right {count(found['both_right'])}, only the first {count(found['n_lost'])}, only "
        f"the second {count(found['n_won'])}, both wrong {count(found['both_wrong'])}.",
    ]
    names = found["classes"]
    for title, key in (("Only the first is right", "lost"), ("Only the second is right", "won")):
        shown = [
            f"{one['sample']} ({' -> '.join(_class(names, label) for label in one['named'])})"
            for one in found[key][:_LISTED]
        ]
        if shown:
            more = found[f"n_{key}"] - len(shown)
            rest = f" and {count(more)} more" if more else ""
            lines.append(f"{title}, by number of the test sample: {', '.join(shown)}{rest}.")
    return "\n".join(lines)


def _alike(found: dict[str, Any]) -> str:
    """Say what a task without right and wrong answers is judged by, of both networks."""
    from pruning_core.tasks.registry import headline

    metric = headline(found["task"])
    first, second = found["values"]
    low, high = (f"{metric.scaled(end):+.4g}" for end in found["change"])
    return (
        f"On the same {count(found['n'])} test samples ({found['title']}, {found['source']}): "
        f"{metric.name} {metric.text(first)} and {metric.text(second)}, "
        f"{metric.change(first, second, 2)} (95 % interval of the difference {low} to {high}, "
        f"{metric.axis}).\n{_samples(found['samples'], found['n'])}"
    )


def _samples(found: dict[str, Any], n: int) -> str:
    """Say on how many samples the error grew and fell, and name the first of them."""
    lines = [
        f"By the error of each sample ({found['measure']}), the second is worse on "
        f"{count(found['n_worse'])} of {count(n)} and better on {count(found['n_better'])}."
    ]
    for title, key in (("Most worse", "worse"), ("Most better", "better")):
        if found["kind"] != "tokens" and found[key]:
            shown = ", ".join(
                f"{one['sample']} ({' -> '.join(map(_short, one['errors']))})"
                for one in found[key][:_LISTED]
            )
            lines.append(f"{title}, by number of the test sample: {shown}.")
    return "\n".join(lines)


def _short(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"


def _class(names: list[str], label: int) -> str:
    return names[label] if label < len(names) else str(label)
