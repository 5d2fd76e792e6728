"""Undo, redo, snapshots, comparison and link of the plan: in the header of every page."""

from typing import TYPE_CHECKING, Any, Final

import streamlit as st

from pages.common import cache, link, problems, recipe_file, state
from pages.common.format import count, markdown, plural, size
from pruning_core.runs.plans import MAX_NAME, Plans

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pruning_core.planning.recipe import Recipe

_NAME: Final = "snapshot_name"
_COMPARED: Final = "compared_with"
_DENSE: Final = "The dense model"
_PREVIOUS: Final = "One step back"


_STEPS: Final = "steps"
_SNAPSHOTS: Final = "snapshots"


def parts() -> tuple[str, ...]:
    """Return the parts that change with the plan; the list does once there is a snapshot."""
    has_some = bool(Plans().snapshots(state.recipe().model))
    return (_STEPS, _SNAPSHOTS) if has_some else (_STEPS,)


def show() -> None:
    """Draw the tools; they act on the recipe of the session."""
    with st.container(key="toolbar", horizontal=True, gap="small"):
        _steps()
        _snapshots()
        _link()


@st.fragment(key=_STEPS)
def _steps() -> None:
    """Draw what goes back and forth between plans, and compares them."""
    steps = state.history()
    undone, redone = len(steps.past), len(steps.future)
    with st.container(horizontal=True, gap="small", width="content"):
        st.button(
            "Undo",
            icon=":material/undo:",
            type="tertiary",
            shortcut="Ctrl+Z",
            disabled=not undone,
            help=f"Ctrl+Z. {undone} {plural('step', undone)} can be undone.",
            on_click=lambda: state.attempt(state.undo),
        )
        st.button(
            "Redo",
            icon=":material/redo:",
            type="tertiary",
            shortcut="Ctrl+Shift+Z",
            disabled=not redone,
            help=f"Ctrl+Shift+Z. {redone} {plural('step', redone)} can be done again.",
            on_click=lambda: state.attempt(state.redo),
        )
        if st.button(
            "Differences",
            icon=":material/compare_arrows:",
            type="tertiary",
            help="What differs from a snapshot, the step before, or the dense model.",
        ):
            _comparison()


@st.fragment(key=_SNAPSHOTS)
def _snapshots() -> None:
    # Its content is always there: one that the server opens closes when an answer comes just then.
    with st.popover(
        "Snapshots",
        icon=":material/bookmark:",
        type="tertiary",
        help="Keep plans under a name, and return to them.",
    ):
        saved = Plans().snapshots(state.recipe().model)
        st.text_input(
            "Name of the present plan",
            max_chars=MAX_NAME,
            key=_NAME,
            placeholder="e.g. half the MACs, fc1 pinned",
        )
        st.button(
            "Save snapshot",
            icon=":material/bookmark_add:",
            on_click=lambda: state.attempt(lambda: _save(str(st.session_state[_NAME]))),
        )
        if not saved:
            st.caption("No snapshot of this model yet. They are kept when the server stops.")
        for index, snapshot in enumerate(saved):
            with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
                is_present = snapshot.recipe == state.recipe()
                mark = " (present plan)" if is_present else ""
                st.markdown(f"**{markdown(snapshot.name)}**{mark}", width="stretch")
                st.button(
                    "Open",
                    key=f"open_snapshot_{index}",
                    disabled=is_present,
                    on_click=lambda wanted=snapshot.recipe: state.attempt(
                        lambda: state.set_recipe(wanted)
                    ),
                )
                st.button(
                    "Delete",
                    key=f"delete_snapshot_{index}",
                    type="tertiary",
                    on_click=lambda name=snapshot.name: Plans().delete(state.recipe().model, name),
                )


def _save(name: str) -> None:
    """Keep the plan, and show it in the list."""
    Plans().save(name, state.recipe())
    st.rerun()


def _link() -> None:
    with st.popover(
        "Link",
        icon=":material/link:",
        type="tertiary",
        help="The address of this page opens the same model, plan, layer and view.",
    ):
        st.markdown(
            "The address of this page holds the whole plan: model, every setting, seed, selected "
            "layer and view. Copy it from the address line of the browser. A plan of more than "
            f"{link.LONGEST:,} characters opens **on this server** only: its address says "
            f"`plan={link.KEPT}…`. To hand such a plan on, send the recipe file."
        )
        recipe_file.download("Recipe as a file")


@st.dialog("Compare plans", width="large")
def _comparison() -> None:
    """Show what differs between the present plan and another one."""
    others = _others()
    name = st.selectbox("Compare the present plan with", list(others), key=_COMPARED)
    present, other = state.recipe(), others[name]
    try:
        cache.plan(other)
    except Exception as error:  # a snapshot may be older than the model
        st.warning(markdown(problems.sentence(error)))
        return
    _totals(name, present, other)
    _differences(name, present, other)


def _others() -> "Mapping[str, Recipe]":
    """Return the plans to compare with, by the name on the screen."""
    present = state.recipe()
    saved = Plans().snapshots(present.model)
    others = {s.name: s.recipe for s in saved if s.recipe != present}
    past = state.history().past
    previous = past[-1] if past else None
    if previous is not None and previous.model == present.model:
        others[_PREVIOUS] = previous
    dense = state.fresh(present.model).replace(granularity=present.granularity)
    return {**others, _DENSE: dense}


def _totals(name: str, present: "Recipe", other: "Recipe") -> None:
    here, there = cache.preview(present).after, cache.preview(other).after
    quantities = (
        ("Parameters", "params", count),
        ("Non-zeros", "nonzero", count),
        ("MACs per sample", "macs", count),
        ("Weights file", "n_bytes", size),
    )
    rows: dict[str, list[Any]] = {"Total": [], "Present plan": [], name: [], "Difference": []}
    for label, field, write in quantities:
        a, b = getattr(here, field), getattr(there, field)
        share = f"{(a - b) / b:+.1%}" if b else "none"
        for column, value in zip(rows, (label, write(a), write(b), share), strict=True):
            rows[column].append(value)
    st.dataframe(rows, hide_index=True, alt="Exact totals of both plans")


def _differences(name: str, present: "Recipe", other: "Recipe") -> None:
    from pruning_core.planning.difference import PER_LAYER, settings, sites

    changed = settings([present, other], without=PER_LAYER)
    prunes = [[part.granularity for part in r.parts.values()] for r in (present, other)]
    layers = sites(cache.plan(present), cache.plan(other)) if prunes[0] == prunes[1] else ()
    if not changed and not layers:
        st.info("Both plans have the same settings and keep the same units of every layer.")
        return
    if changed:
        st.markdown("**Settings that differ**")
        st.dataframe(
            {
                "Setting": [one.setting for one in changed],
                "Present plan": [one.values[0] for one in changed],
                name: [one.values[1] for one in changed],
            },
            hide_index=True,
            alt=f"{len(changed)} settings differ",
        )
    if prunes[0] != prunes[1]:
        st.caption(
            f"One plan prunes by {' and '.join(prunes[0])}, the other by "
            f"{' and '.join(prunes[1])}: what stays of a layer cannot be set side by side."
        )
        return
    if not layers:
        st.caption("The same units stay in every layer.")
        return
    st.markdown(f"**Layers that differ**: {len(layers)} of {len(cache.plan(present).keep)}")
    st.dataframe(
        {
            "Layer": [layer.site or "(model)" for layer in layers],
            "Units": [layer.n_units for layer in layers],
            "Present plan keeps": [layer.first for layer in layers],
            f"{name} keeps": [layer.second for layer in layers],
            "Only the present keeps": [layer.only_first for layer in layers],
            f"Only {name} keeps": [layer.only_second for layer in layers],
        },
        hide_index=True,
        alt=f"{len(layers)} layers keep different units",
    )
