"""The files of a finished run, and the same run as commands."""

from pathlib import Path
from typing import Any, Final

import streamlit as st

from pages.common import cache, measured, state
from pages.common.format import judged, markdown, reduction, size
from pages.common.glossary_links import linked
from pruning_core.runs import dispatcher
from pruning_core.runs.store import Record, Store

COMMANDS: Final = """\
# The same masks and the same numbers, without this page.
python -m pruning_core preview recipe.json
python -m pruning_core run recipe.json --out my-run
python -m pruning_core export my-run --format python
python -m pruning_core push my-run --to my-model"""

PYTHON: Final = """\
from pathlib import Path

from pruning_core import Recipe
from pruning_core.runs.pipeline import execute, write_run

recipe = Recipe.from_json(Path("recipe.json").read_bytes())
*_, finished = execute(recipe)
folder = Path("my-run")
folder.mkdir(exist_ok=True)
result = write_run(finished.result, folder)
print(result.preview.after, result.tuned)"""


def choose() -> Record | None:
    """Draw the choice of a finished run and return it; None when there is none."""
    done = {record.id: record for record in dispatcher.list_runs() if record.state == "done"}
    if not done:
        return None
    shown = state.run_id() if state.run_id() in done else next(iter(done))
    st.selectbox(
        "Run",
        list(done),
        format_func=lambda run: f"{run}   {done[run].title}",
        **state.bound("export_run", shown, state.show_run),
    )
    return done[shown]


def downloads(record: Record) -> None:
    """Draw one card a file: what it is for, how large it is, and the button."""
    folder = Store().folder(record.id) / "export"
    report = measured.report(record.id) or {}
    if report:
        st.markdown(headline(report))
    entries = sorted(
        (
            entry
            for entry in cache.registry("exporters").values()
            if not entry.on_demand
            and ((folder / entry.file_name).is_file() or _has_problem(entry, report))
        ),
        key=lambda entry: entry.file_name,
    )
    columns = st.columns(len(entries))
    for column, entry in zip(columns, entries, strict=True):
        path = folder / entry.file_name
        with column.container(border=True, height="stretch"):
            st.markdown(f"**{markdown(entry.title)}**")
            st.caption(markdown(entry.description))
            note = _note(entry.key, report)
            if note:
                st.caption(note)
            st.space("stretch")
            if path.is_file():
                download(entry, path)
            else:
                problem = (report.get("problems") or {}).get(entry.key, "It was not written.")
                st.caption(f":material/error: {markdown(problem)}")


def download(entry: Any, path: Path) -> None:
    """Draw the button that downloads one file."""
    st.download_button(
        f"{entry.file_name}, {size(path.stat().st_size)}",
        data=_reader(path),
        file_name=entry.file_name,
        mime=entry.media_type,
        key=f"download_{entry.key}",
        icon=":material/download:",
        on_click="ignore",
        width="stretch",
    )


def headline(report: dict[str, Any]) -> str:
    """Say in a sentence what the run reached."""
    key, noun = ("nonzero", "non-zero parameters")
    if report["params"]["after"] < report["params"]["before"]:
        key, noun = ("params", "parameters")
    ratio = reduction(report[key]["before"], report[key]["after"])
    from pruning_core.exporting.metric_table import headlines, task_of

    metric, accuracy = task_of(report).metrics[0], headlines(report)
    last = accuracy["pruned"] if accuracy["tuned"] is None else accuracy["tuned"]
    text = f"{markdown(report['model_title'])}: **{ratio}** smaller in {noun}"
    if last is None or accuracy.get("dense") is None:
        return text + "."
    n_test = report["n"]["dense"]
    return (
        f"{text}, test {metric.name} {judged(metric, accuracy['dense'], 2)} before and "
        f"**{judged(metric, last, 2)}** after (measured, n = {n_test:,})."
    )


def same_without_page(record: Record) -> None:
    """Draw the same run as commands and as Python."""
    st.subheader("The same without this page", anchor=False)
    st.markdown("Download `recipe.json` above; it holds everything that decides the result.")
    left, right = st.columns(2)
    with left:
        st.markdown("**Command line**")
        st.code(COMMANDS, language="bash")
        st.caption(
            f"{linked('fingerprint', 'Fingerprint')} of the {linked('recipe')}: "
            f"`{record.fingerprint[:16]}`"
        )
    with right:
        st.markdown("**Python**")
        st.code(PYTHON, language="python")


def _has_problem(entry: Any, report: dict[str, Any]) -> bool:
    """Tell whether the run says why it lacks this file."""
    return entry.key in (report.get("problems") or {})


def _note(key: str, report: dict[str, Any]) -> str:
    """Return what was measured about a file; empty when nothing was."""
    onnx = report.get("onnx") or {}
    if key == "onnx" and onnx.get("max_abs_difference") is not None:
        return (
            f"Largest difference from PyTorch: **{onnx['max_abs_difference']:.1e}** "
            f"(measured on {onnx['n']} inputs)."
        )
    return ""


def _reader(path: Path) -> Any:
    """Return what reads the file when its button is pressed."""
    return path.read_bytes
