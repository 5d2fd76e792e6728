"""What leaves together with one unit, layer by layer, each with the reason along the path."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.common import cache
from pages.common.components import mount_together
from pages.common.format import markdown, plural

if TYPE_CHECKING:
    from pruning_core.granularities import Site
    from pruning_core.planning.explain import Explanation
    from pruning_core.planning.plan import Plan
    from pruning_core.tracing.network import Network


def show(plan: "Plan", site: "Site", unit: int) -> None:
    """Draw the table of tensor slices with their reasons."""
    network = cache.network(plan.recipe.model)
    found = cache.explanation(plan.recipe, site.name, unit)
    listed = rows(plan, network, site, found)
    n_layers, n_slices = len(listed), len(found.slices)
    leaves = "leaves" if not site.parameter else "becomes zero"
    st.markdown(
        f"**What {leaves} with {markdown(found.name)}: {n_slices:,} "
        f"{'slice' if n_slices == 1 else 'slices'} of tensors in {n_layers:,} "
        f"{plural('layer', n_layers)}**"
    )
    mount_together(
        key="together",
        data={
            "titles": ["Layer", "Slices of its tensors", "Why they leave together"],
            "alt": f"{n_slices} tensor slices in {n_layers} layers belong to {found.name}",
            "rows": listed,
        },
    )
    if (
        not site.parameter
        and not site.unit_names
        and network.group(site.name).changes_normalisation
    ):
        st.caption(
            "A normalisation is computed over these units, so removing them changes its "
            "statistics: the pruned network is not the same as one with these units at zero."
        )


def rows(
    plan: "Plan", network: "Network", site: "Site", found: "Explanation"
) -> list[dict[str, Any]]:
    """Return one row a layer: its slices, those with the same reason together."""
    kinds = {layer.name: layer.kind for layer in network.layers}
    layers: dict[str, dict[tuple[str, ...], list[dict[str, str]]]] = {}
    coupled = not site.parameter and not site.unit_names
    group = network.group(site.name) if coupled else None
    paths = cache.couplings(plan.recipe.model, site.name) if coupled else {}
    for number, part in enumerate(found.slices):
        owner, _, name = part.tensor.rpartition(".")
        steps: tuple[str, ...] = ()
        share = "whole tensor" if not part.place else ""
        if group is not None:
            member = group.members[number]
            steps = tuple(step.sentence for step in paths[member.parameter, member.axis])
            size = network.tensor(member.parameter).shape[member.axis]
            share = f"{member.per_unit:,} of {size:,} along axis {member.axis}"
        entries = layers.setdefault(owner, {})
        entries.setdefault(steps, []).append({"place": f"{name}{part.place}", "share": share})
    origin = f"it makes the {plural(site.kind)}" if coupled else f"it is the {site.kind}"
    if site.unit_names:
        origin = "only this branch uses it"
    return [
        {
            "layer": owner or "(model)",
            "kind": kinds.get(owner, ""),
            "entries": [
                {"slices": slices, "steps": list(steps), "origin": origin}
                for steps, slices in entries.items()
            ],
        }
        for owner, entries in layers.items()
    ]
