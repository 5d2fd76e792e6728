"""Which finished runs the Compare page shows, and which two networks stand side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import streamlit as st

from pages.common import measured, measuring, state
from pages.common.format import count, milliseconds, percent, size
from pruning_core.errors import RunError
from pruning_core.exporting.titles import request_of
from pruning_core.runs.bench import Outcome, Question
from pruning_core.runs.store import Record, Store, read_spec

if TYPE_CHECKING:
    from pruning_core.comparing.variant import Variant
    from pruning_core.planning.recipe import Recipe
    from pruning_core.runs.comparisons import Pair

MOST: Final = 200
"""Runs that are listed at most, the newest ones."""
_ASKED: Final = "_asked_comparison"


@dataclass(frozen=True, slots=True)
class Listed:
    """A finished run.

    Attributes:
        record: As the list of runs knows it.
        recipe: What was asked for.
        model: Title of its model.
        root: The dense network: identity and digest of the weights.
        variants: Its networks.
    """

    record: Record
    recipe: "Recipe"
    model: str
    root: str
    variants: "tuple[Variant, ...]"

    @property
    def what(self) -> str:
        """What was done, without the name of the model."""
        title = request_of(self.recipe)
        return f"{self.record.label}: {title}" if self.record.label else title


def listed() -> tuple[Listed, ...]:
    """Return the finished runs with a readable report, the newest first; at most 200."""
    done = [record for record in Store().all() if record.state == "done"][:MOST]
    return tuple(run for record in done if (run := _listed(record)) is not None)


def _listed(record: Record) -> Listed | None:
    speed = Store().folder(record.id) / "export" / "speed.json"
    measured_at = speed.stat().st_mtime_ns if speed.is_file() else 0
    known = _summary(record.id, measured_at)
    return None if known is None else Listed(record, *known)


@st.cache_resource(show_spinner="Reading the reports of runs…", max_entries=512)
def _summary(run: str, measured_at: int) -> "tuple[Recipe, str, str, tuple[Variant, ...]] | None":
    """Return recipe, model and networks of a run; None when its files cannot be read."""
    from pruning_core.comparing.variant import variants_of
    from pruning_core.runs.speed import read_speed

    report = measured.report(run)
    if report is None:
        return None
    speed = read_speed(Store().folder(run) / "export") if measured_at else None
    try:
        recipe = read_spec(Store().folder(run) / "spec.json").recipe
    except RunError:
        return None
    root = f"{recipe.model} {report['model_sha256'][:16]}"
    return recipe, report["model_title"], root, variants_of(run, report, speed)


def chosen(runs: Sequence[Listed]) -> tuple[Listed, ...]:
    """Return the runs that are looked at: those chosen in the table, all when none is."""
    names = state.compared("runs")
    found = tuple(run for run in runs if run.record.id in names)
    return found or tuple(runs)


def key_of(variant: "Variant") -> str:
    """Return the name of a network in addresses: its run and its stage."""
    return f"{variant.run}:{variant.stage}"


def comparable(runs: Sequence[Listed]) -> "dict[str, tuple[Listed, Variant]]":
    """Return the networks whose files are kept, by name: all but those before fine-tuning."""
    return {
        key_of(variant): (run, variant)
        for run in runs
        for variant in run.variants
        if not (variant.stage == "pruned" and any(one.stage == "tuned" for one in run.variants))
    }


def pair(runs: Sequence[Listed]) -> tuple[str, str]:
    """Return the names of the two networks side by side.

    Until two are chosen: what the two newest runs of one model handed out, or a run's dense network
    and what was made of it.
    """
    from pruning_core.comparing.variant import final

    known = comparable(runs)
    wanted = state.compared("pair")
    if len(wanted) == 2 and all(name in known for name in wanted):
        return wanted[0], wanted[1]
    newest = runs[0]
    second = key_of(final(newest.variants))
    partner = next((run for run in runs[1:] if run.root == newest.root), None)
    return key_of(newest.variants[0] if partner is None else final(partner.variants)), second


def choose(name: str, place: int, runs: Sequence[Listed]) -> None:
    """Put the network ``name`` on one side; the other side keeps its own unless it is the same."""
    both = list(pair(runs))
    if both[1 - place] == name:
        both[1 - place] = both[place]
    both[place] = name
    state.set_compared("pair", both)


def push(name: str, runs: Sequence[Listed]) -> None:
    """Make the network ``name`` the second of the two; the one that was becomes the first."""
    if name in comparable(runs) and name != pair(runs)[1]:
        state.set_compared("pair", (pair(runs)[1], name))


def title_of(run: Listed, variant: "Variant") -> str:
    """Return one line that tells a network from all others."""
    from pruning_core.comparing.variant import STAGE_TITLES

    stage = STAGE_TITLES[variant.stage]
    what = run.model if variant.stage == "dense" else f"{run.model}: {run.what}"
    return f"{stage}, {what} ({run.record.id})"


def written(name: str, value: float | None) -> str:
    """Write one number of a network."""
    from pruning_core.comparing.variant import AXES

    if value is None:
        return "not measured"
    if AXES[name].is_share:
        return percent(value, 2)
    if name == "bytes":
        return size(value)
    if name.startswith("latency"):
        return milliseconds(value)
    return f"{value:.4g}" if AXES[name].known == "MEASURED" else count(value)


def pair_of(names: tuple[str, str]) -> "Pair":
    """Return the two networks as what compares them takes them."""
    from pruning_core.runs.comparisons import Member, Pair

    members = [name.rpartition(":") for name in names]
    first, second = (Member(run, stage) for run, _, stage in members)  # type: ignore[arg-type]
    return Pair(first, second)


def question(names: tuple[str, str], recipe: "Recipe") -> Question:
    """Return what asks to compare two networks."""
    members = pair_of(names)
    sides = [{"run": one.run, "stage": one.stage} for one in (members.first, members.second)]
    return Question("compare", recipe, settings={"sides": sides})


def ask(asked: Question) -> Outcome:
    """Ask for a comparison; the one this visitor asked for before is given up if it still waits."""
    before: Question | None = st.session_state.get(_ASKED)
    if before is not None and before.key != asked.key:
        known = measuring.bench().look(before)
        if known is not None and known.is_pending:
            measuring.bench().cancel(before)
    st.session_state[_ASKED] = asked
    return measuring.bench().ask(asked)
