"""Why is my file not smaller or faster? Answered with numbers of the current plan."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import streamlit as st

from pages.common import cache, measuring, state
from pages.common.format import (
    count,
    duration,
    judged,
    markdown,
    milliseconds,
    percent,
    reduction,
)

if TYPE_CHECKING:
    from pruning_core.evaluation.whatif import WhatIf
    from pruning_core.planning.recipe import Recipe
    from pruning_core.preview import Preview
    from pruning_core.runs.bench import Outcome
    from pruning_core.tasks import Metric

QUESTION: Final = "Why is my file not smaller or faster?"
NO_DATA: Final = (
    "No data set is known for this model, so its accuracy cannot be measured. Sizes and times can."
)
_FORMS: Final[Mapping[str, str]] = {
    "raw": "safetensors, every number written out",
    "zip": "the same file in a zip archive",
    "bitmask": "one bit a weight, then the non-zeros",
    "csr": "compressed sparse rows (CSR)",
    "2:4": "two of four weights and their places",
}
_SMALL_LAYER: Final = 1_000_000
_ALIGNED: Final = 8


def what_if(answer: Mapping[str, Any]) -> "WhatIf":
    """Return what was measured."""
    from pruning_core.evaluation.whatif import WhatIf

    return WhatIf(**answer)


def button(counted: "Preview", accuracy: "Outcome | None") -> bool:
    """Draw the button with the explanation behind it; True while something in it is measured.

    Args:
        counted: What the plan saves.
        accuracy: Its what-if accuracy, if there is one.
    """
    place = st.popover("Why?", icon=":material/help:", key="why", help=QUESTION, on_change="rerun")
    if not place.open:
        return False
    with place:
        return _show(counted, accuracy)


def accuracy_sentence(found: "WhatIf") -> str:
    """Say what a what-if accuracy is worth."""
    from pruning_core.tasks.registry import TASKS

    task = TASKS[found.task]
    if not task.counts_classes:
        return _metric_sentence(found, task.metrics[0])
    low, high = (percent(share) for share in found.interval)
    worse, better = (f"{100 * share:+.1f}" for share in found.difference_interval)
    return (
        f"{percent(found.accuracy)} right after pruning, before fine-tuning (95 % interval {low} "
        f"to {high}), on the first {found.n:,} of {found.n_split:,} validation examples, never the "
        f"test split. The dense model names {percent(found.dense)} of the same examples correctly: "
        f"{found.lost:,} are lost and {found.gained:,} won, a difference of "
        f"{100 * found.difference:+.1f} points (95 % interval {worse} to {better}). Pruning and "
        f"measuring took {duration(found.seconds)}."
    )


def _metric_sentence(found: "WhatIf", metric: "Metric") -> str:
    """Say what a what-if metric of a task without right and wrong answers is worth."""
    low, high = found.interval
    worse, better = (f"{metric.scaled(end):+.3g}" for end in found.difference_interval)
    way = "higher" if metric.higher_is_better else "lower"
    return (
        f"{metric.capital} {judged(metric, found.accuracy)} right after pruning, before "
        f"fine-tuning (95 % interval {metric.between(low, high)}; {way} is better), on the first "
        f"{found.n:,} of {found.n_split:,} validation examples, never the test split. The dense "
        f"model has {judged(metric, found.dense)} on the same examples: a change of "
        f"{metric.change(found.dense, found.accuracy)} (95 % interval of the difference {worse} to "
        f"{better}, {metric.axis}). Pruning and measuring took {duration(found.seconds)}."
    )


def _show(counted: "Preview", accuracy: "Outcome | None") -> bool:
    recipe = state.recipe()
    st.markdown(f"**{QUESTION}**")
    timing, stored = measuring.latency(recipe), measuring.files(recipe)
    for sentence in sentences(recipe, counted, timing):
        st.markdown(f"- {sentence}")
    _what_leaves(counted)
    _accuracy(recipe, accuracy)
    _files(stored)
    _times(recipe, timing)
    shares = _shares(recipe)
    waiting = (stored, timing, shares)
    return any(each is not None and each.is_pending for each in waiting)


def sentences(recipe: "Recipe", counted: "Preview", timing: "Outcome | None" = None) -> list[str]:
    """Return what holds for this plan, one sentence a cause."""
    before, after = counted.before, counted.after
    zeros = after.params - after.nonzero - (before.params - before.nonzero)
    if before == after:
        return [
            "The plan takes nothing away yet, so file, MACs and time are those of the dense model."
        ]
    found = []
    if after.params == before.params:
        found.append(
            f"The plan only sets {count(zeros)} weights to zero. A zero takes as many bytes as any "
            f"other number, so the file keeps its **{before.n_bytes:,} bytes**, and a zero is "
            f"multiplied like any other number, so {_all_macs(before.macs)} stay and nothing gets "
            "faster."
        )
        found.append(
            "What makes the file smaller: a form that leaves zeros out (below), or pruning "
            "**units** instead, which really leave. What makes it faster: units again; hardware "
            "and libraries that skip zeros need special formats, which PyTorch on this processor "
            "does not use."
        )
    else:
        found.append(
            f"**{count(before.params - after.params)} parameters really leave**: the file is "
            f"{reduction(before.n_bytes, after.n_bytes)} smaller, and "
            f"{count(before.macs - after.macs)} of {count(before.macs)} MACs are not computed any "
            "more."
        )
        if zeros > 0:
            found.append(
                f"Another {count(zeros)} weights are only zero: they stay in the file and in the "
                "MACs."
            )
        found += _odd_widths(recipe)
    return found + _slow(counted, timing)


def _all_macs(macs: int) -> str:
    return f"all **{count(macs)} MACs**" if macs else "all MACs (how many is not known)"


def _odd_widths(recipe: "Recipe") -> list[str]:
    """Say how many widths are no multiples of 8, which processors like less."""
    plan = cache.plan(recipe)
    kept = {
        name: int(mask.sum())
        for name, mask in plan.part("unit").items()
        if not mask.all() and mask.size >= _ALIGNED
    }
    odd = [name for name, n in kept.items() if n % _ALIGNED]
    if not odd:
        return []
    name = odd[0]
    return [
        f"{len(odd)} of {len(kept)} shrunk groups keep a width that is no multiple of {_ALIGNED} "
        f"({markdown(name)}: {kept[name]}). Processors compute in blocks of {_ALIGNED} or 16, so "
        f"the last block is partly wasted. Set *More: Kept units are a multiple of* to {_ALIGNED}."
    ]


def _slow(counted: "Preview", timing: "Outcome | None") -> list[str]:
    """Explain a measured time that fell less than the MACs."""
    if timing is None or timing.state != "done" or counted.after.macs == counted.before.macs:
        return []
    one = timing.answer["comparisons"][0]
    expected = counted.before.macs / max(1, counted.after.macs)
    if one["ratio"] > 0.8 * expected:
        return []
    layers = [layer for layer in counted.layers if layer.before.macs]
    if counted.before.macs < _SMALL_LAYER * len(layers):
        return [
            f"The MACs fall {expected:.2f}x, the time of one sample {one['ratio']:.2f}x: "
            f"{count(counted.before.macs)} MACs in {len(layers)} layers are so few that most of "
            f"the {milliseconds(one['dense']['median_ms'])} goes into calling operators and "
            "fetching weights, which narrower layers hardly shorten. Larger batches gain more."
        ]
    return [
        f"The MACs fall {expected:.2f}x, the time of one sample {one['ratio']:.2f}x: not all time "
        "goes into MACs. Activations, normalisations and memory traffic fall less; the time of "
        "each layer (below) shows where it goes."
    ]


def _what_leaves(counted: "Preview") -> None:
    """Draw what is removed, what is only zero, and what that does."""
    before, after = counted.before, counted.after
    rows = [
        ("Removed parameters", before.params - after.params, before.params),
        ("Zeros that stay stored", after.params - after.nonzero, before.params),
        ("MACs no longer computed", before.macs - after.macs, before.macs),
    ]
    st.markdown("**What leaves** :gray-badge[EXACT]")
    _table(
        {
            "": [name for name, _, _ in rows],
            "Number": [f"{value:,}" for _, value, _ in rows],
            "of the dense model": [percent(value / max(1, whole)) for _, value, whole in rows],
        }
    )


def _accuracy(recipe: "Recipe", outcome: "Outcome | None") -> None:
    """Say what is known about the accuracy right after pruning."""
    metric = cache.metric(recipe)
    st.markdown(f"**{metric.capital} right after pruning** :gray-badge[MEASURED]")
    if not measuring.has_data(recipe):
        st.caption(NO_DATA)
    elif outcome is None:
        st.caption("Measured as soon as the plan takes something away.")
    elif outcome.state == "failed":
        st.caption(markdown(outcome.text))
    elif outcome.is_pending:
        st.caption("It is being measured…")
    elif "too_long" in outcome.answer:
        st.caption(
            f"It would take about {duration(outcome.answer['too_long'])}; a button in the strip "
            "measures it."
        )
    else:
        st.caption(accuracy_sentence(what_if(outcome.answer)))


def _files(outcome: "Outcome") -> None:
    """Draw the bytes of the file in every form."""
    st.markdown("**The file, in bytes** :gray-badge[EXACT]")
    if outcome.state == "failed":
        st.caption(markdown(outcome.text))
        return
    sizes = outcome.answer.get("sizes", {})
    dense = {"raw": sizes.get("dense"), "zip": sizes.get("dense zip")}
    shown = [key for key in _FORMS if key in sizes] or ["raw", "zip"]
    plan = [sizes.get(key) for key in shown]
    _table(
        {
            "Form": [_FORMS[key] for key in shown],
            "Dense model": [_bytes(dense.get(key)) for key in shown],
            "This plan": [_bytes(size) for size in plan],
            "Against dense": [_times_smaller(sizes.get("dense"), size) for size in plan],
        }
    )
    if outcome.is_pending:
        st.caption("The archives are being made…")
    elif "bitmask" in sizes:
        st.caption(
            "Sparse forms need a reader that knows them; each size is that of a real encoder whose "
            "output reads back bit for bit. A dash: the form fits no layer of this plan."
        )


def _table(columns: Mapping[str, list[str]]) -> None:
    """Draw a small table of texts."""
    st.table(dict(columns), border="horizontal", hide_index=True)


def _bytes(n: int | None) -> str:
    return f"{n:,}" if n is not None else "\u2013"


def _times_smaller(before: int | None, after: int | None) -> str:
    if before is None or after is None:
        return ""
    return f"{before / max(1, after):.2f}x"


def _times(recipe: "Recipe", outcome: "Outcome | None") -> None:
    """Draw the measured times, or the button that measures them."""
    st.markdown("**Time on this machine** :gray-badge[MEASURED]")
    if outcome is None or outcome.state in {"cancelled", "failed"}:
        if outcome is not None and outcome.state == "failed":
            st.caption(markdown(outcome.text))
        sizes = " and ".join(str(size) for size in measuring.BATCH_SIZES)
        st.caption(
            f"Dense and pruned run in turns after a warm-up, batches of {sizes}, "
            f"{threads(measuring.threads())}: seconds for a small network, minutes for a large one."
        )
        st.button(
            "Measure the time",
            icon=":material/timer:",
            key="why_measure",
            on_click=lambda: measuring.measure_latency(recipe),
        )
        return
    if outcome.is_pending:
        st.progress(outcome.fraction, text=outcome.text or "waiting")
        st.button(
            "Cancel",
            icon=":material/stop:",
            key="why_cancel",
            on_click=lambda: measuring.cancel_latency(recipe),
        )
        return
    found = outcome.answer["comparisons"]
    _table(
        {
            "Batch": [str(one["batch_size"]) for one in found],
            "Dense": [_spread(one["dense"]) for one in found],
            "This plan": [_spread(one["pruned"]) for one in found],
            "Dense / plan (95 %)": [
                f"{one['ratio']:.2f}x ({one['ratio_low']:.2f} to {one['ratio_high']:.2f})"
                for one in found
            ],
            "Verdict": [f"{one['verdict']}, {one['n']} pairs" for one in found],
        }
    )
    st.caption(
        f"Median (middle half) on {markdown(outcome.answer['device'])}, "
        f"{threads(found[0]['threads'])}. A gain counts when the whole 95 % interval of the "
        "paired ratio (bootstrap) is above 1.02; otherwise it is *no measurable gain*."
    )
    st.button(
        "Measure again",
        icon=":material/refresh:",
        key="why_again",
        on_click=lambda: measuring.measure_latency(recipe),
    )


def _shares(recipe: "Recipe") -> "Outcome | None":
    """Draw how the time of the dense model is spread over its layers, or the button for it."""
    outcome = measuring.shares(recipe)
    st.markdown("**Where the dense model spends its time** :gray-badge[MEASURED]")
    if outcome is not None and outcome.is_pending:
        st.progress(outcome.fraction, text=outcome.text or "waiting")
        return outcome
    if outcome is None or outcome.state != "done":
        if outcome is not None and outcome.state == "failed":
            st.caption(markdown(outcome.text))
        st.button(
            "Measure each layer",
            icon=":material/timer:",
            key="why_shares",
            on_click=lambda: measuring.measure_shares(recipe),
        )
        return outcome
    shares = sorted(outcome.answer["shares"].items(), key=lambda item: -item[1])
    st.dataframe(
        {
            "Layer": [name or "(model)" for name, _ in shares],
            "Share of the time": [share for _, share in shares],
        },
        hide_index=True,
        height=210,
        column_config={
            "Share of the time": st.column_config.ProgressColumn(
                format="percent", min_value=0, max_value=1
            )
        },
        alt=f"Table of time shares; the largest is {percent(shares[0][1])}, {shares[0][0]}",
        key="why_share_table",
    )
    rest = max(0.0, 1 - sum(share for _, share in shares))
    st.caption(
        f"One sample, {threads(outcome.answer['threads'])}; {percent(rest)} is spent between the "
        "layers."
    )
    return outcome


def _spread(timing: Mapping[str, float]) -> str:
    low, high = milliseconds(timing["low_ms"]), milliseconds(timing["high_ms"])
    return f"{milliseconds(timing['median_ms'])} ({low.removesuffix(' ms')} to {high})"


def threads(n: int) -> str:
    """Write a number of threads."""
    return "1 thread" if n == 1 else f"{n} threads"
