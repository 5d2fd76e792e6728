"""The rows of the table of layers, as pure functions from a plan to plain data.

Every layer that owns parameters or multiplies has exactly one row that counts it, so the rows sum
to the totals of the strip. Most rows are sites, what one threshold acts on; where units are
coupled, layers that follow another one are rows too; the rest (norms, buffers) is shown on demand.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pages.common.format import percent, plural, significant
from pruning_core.planning.recipe import Count, Ratio, Recipe, Threshold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pruning_core.granularities import Granularity, Site
    from pruning_core.planning.plan import Plan
    from pruning_core.preview import LayerCost, Preview
    from pruning_core.tracing.network import Network

QUANTITIES: Final = ("params", "nonzero", "macs", "n_bytes")
Costs = tuple[int, int, int, int]
Sensitivity = Mapping[str, tuple[Sequence[float], ...]]
"""Site -> ratios it was pruned to, the accuracies measured there, and points lost, if known."""
_NOTHING: Final[Costs] = (0, 0, 0, 0)


class Role(StrEnum):
    """What a row stands for.

    A layer may follow the site it is coupled with, or have a weight of which nothing can go; OTHER
    is whatever else costs something.
    """

    SITE = "site"
    COUPLED = "coupled"
    FIXED = "fixed"
    OTHER = "other"


class Setting(StrEnum):
    """Who decides how much of a layer goes."""

    GLOBAL = "global"
    OWN = "own"
    PINNED = "pinned"
    SPARED = "spared"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    Attributes:
        name: Of the site; of other rows the module path.
        role: What the row stands for.
        layer: Module path of the layer it counts; None when it counts several or none.
        site: The site that decides how much of the layer goes; empty when none does.
        kind: Class names of the layers it counts.
        group: The group whose units are the outputs of the layer; empty when none is.
        unit: The word for several units.
        total: Units.
        removed: Units that go.
        threshold: Score of the lowest unit that stays.
        threshold_text: What to say instead, where a number would say nothing.
        before: Parameters, non-zeros, MACs and bytes; None when another row counts the layer.
        after: The same, when the plan is carried out.
        setting: Who decides.
        wish: The own setting in words.
        notes: Why a wish was limited.
    """

    name: str
    role: Role
    layer: str | None = None
    site: str = ""
    kind: str = ""
    group: str = ""
    unit: str = ""
    total: int = 0
    removed: int = 0
    threshold: float = 0.0
    threshold_text: str = ""
    before: Costs | None = _NOTHING
    after: Costs | None = _NOTHING
    setting: Setting = Setting.GLOBAL
    wish: str = ""
    notes: tuple[str, ...] = ()


def rows(
    plan: "Plan",
    counted: "Preview",
    network: "Network",
    granularity: "Granularity",
    scores: "Mapping[str, NDArray[np.float32]]",
) -> list[Row]:
    """Return the rows in execution order.

    Args:
        plan: What goes.
        counted: What the plan costs.
        network: The traced network.
        granularity: That of the sites; of a mixed recipe the first one.
        scores: Site -> ``[U]`` scores.
    """
    costs = {layer.name: layer for layer in counted.layers}
    produced = _producers(network)
    counts: set[str] = set()
    found: dict[str, list[Row]] = {}
    for site in granularity.sites(network):
        names = site.layers if site.unit_names else (site.layer,)
        own = [costs[name] for name in names if name not in counts]
        counts.update(names)
        kind = granularity.title if site.unit_names else costs[site.layer].kind
        group = site.name if granularity.coupled else produced.get(site.parameter, "")
        row = _site_row(plan, site, granularity, kind, group, own, scores)
        found.setdefault(site.layer, []).append(row)
    leaders = {row.name: row for made in found.values() for row in made}
    weights = {name.rpartition(".")[0] for name in network.weights}
    for layer in network.layers:
        cost = costs[layer.name]
        if layer.name in counts or not any(getattr(cost.before, name) for name in QUANTITIES):
            continue
        group = next((produced[name] for name in layer.parameters if name in produced), "")
        leader = leaders.get(group) if granularity.coupled else None
        found.setdefault(layer.name, []).append(
            _with_leader(cost, leader)
            if leader
            else Row(
                layer.name,
                Role.FIXED if layer.name in weights else Role.OTHER,
                layer.name,
                kind=layer.kind,
                group=group,
                **_sum([cost]),
            )
        )
    order = {layer.name: number for number, layer in enumerate(network.layers)}
    ordered = sorted(found, key=lambda name: order.get(name, -1))
    return [*(row for name in ordered for row in found[name]), _file_row(counted)]


def _site_row(
    plan: "Plan",
    site: "Site",
    granularity: "Granularity",
    kind: str,
    group: str,
    own: "list[LayerCost]",
    scores: "Mapping[str, NDArray[np.float32]]",
) -> Row:
    recipe, removed = plan.recipe, plan.n_removed(site.name)
    return Row(
        name=site.name,
        role=Role.SITE,
        layer=own[0].name if len(own) == 1 else None,
        site=site.name,
        kind=kind,
        group=group,
        unit=plural(site.kind),
        total=site.n_units,
        removed=removed,
        threshold=plan.thresholds[site.name],
        threshold_text=_threshold_text(plan, site, granularity, scores),
        setting=setting(recipe, site.name),
        wish=_wish(recipe, site.name),
        notes=plan.notes.get(site.name, ()),
        **(_sum(own) if own else {"before": None, "after": None}),
    )


def setting(recipe: Recipe, site: str) -> Setting:
    """Return who decides how much of ``site`` goes."""
    if site in recipe.pins:
        return Setting.PINNED if site in recipe.layers else Setting.SPARED
    return Setting.OWN if site in recipe.layers else Setting.GLOBAL


def _wish(recipe: Recipe, site: str) -> str:
    match recipe.layers.get(site):
        case Ratio(value=value):
            return f"ratio {percent(value)}"
        case Count(value=value):
            return f"count {value:,}"
        case Threshold(value=value):
            return f"threshold {significant(value)}"
    return ""


def _threshold_text(
    plan: "Plan",
    site: "Site",
    granularity: "Granularity",
    scores: "Mapping[str, NDArray[np.float32]]",
) -> str:
    """Return what stands for the threshold where no single score does."""
    if granularity.pattern is not None:
        n, m = granularity.pattern.n, granularity.pattern.m
        return f"{n} of {m} stay" if plan.n_removed(site.name) else "dense"
    if site.unit_names:
        stays = np.flatnonzero(plan.keep[site.name])
        weakest = stays[np.argmin(scores[site.name][stays])]
        return f"next: {site.unit_names[int(weakest)]}"
    return ""


def _producers(network: "Network") -> dict[str, str]:
    """Return for each weight the group whose units are its outputs."""
    from pruning_core.granularities.matrix import matrices

    outputs = {(m.parameter, axis) for m in matrices(network) for axis in m.outputs}
    return {
        member.parameter: group.name
        for group in network.groups
        for member in group.members
        if (member.parameter, member.axis) in outputs
    }


def shared_groups(network: "Network") -> list[str]:
    """Return the groups whose units two or more layers make, in execution order.

    Their number is their letter, here as in the ribbons of all layers.
    """
    from pruning_core.granularities.matrix import matrices

    produced = _producers(network)
    layers: dict[str, set[str]] = {}
    for weight in matrices(network):
        if weight.parameter in produced:
            layers.setdefault(produced[weight.parameter], set()).add(weight.owner)
    return [name for name, owners in layers.items() if len(owners) > 1]


def _with_leader(cost: "LayerCost", leader: Row) -> Row:
    """Return the row of a layer whose outputs leave with those of another layer."""
    return replace(
        leader,
        name=cost.name,
        role=Role.COUPLED,
        layer=cost.name,
        kind=cost.kind,
        threshold_text="",
        wish="",
        notes=(),
        **_sum([cost]),
    )


def _sum(costs: "Iterable[LayerCost]") -> dict[str, Any]:
    pairs = [(cost.before, cost.after) for cost in costs]
    return {
        when: tuple(sum(int(getattr(pair[side], name)) for pair in pairs) for name in QUANTITIES)
        for side, when in enumerate(("before", "after"))
    }


def _file_row(counted: "Preview") -> Row:
    """Return what the file holds besides the parameters: buffers and its header."""
    extra = [
        totals.n_bytes - sum(int(getattr(layer, when).n_bytes) for layer in counted.layers)
        for when, totals in (("before", counted.before), ("after", counted.after))
    ]
    return Row(
        "buffers and file header",
        Role.OTHER,
        kind="file",
        before=(0, 0, 0, extra[0]),
        after=(0, 0, 0, extra[1]),
    )


def payload(
    table: Sequence[Row],
    coupled: Mapping[str, Sequence[str]],
    shared: Sequence[str] = (),
    *,
    sensitivity: Sensitivity | None = None,
    time_shares: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Return the rows by column, as little JSON as possible; what few rows have is by row number.

    Args:
        table: From :func:`rows`.
        coupled: Group -> every layer that changes when its units leave.
        shared: Groups that get a letter, in the order of the letters.
        sensitivity: Measured accuracies by site, where there was a scan.
        time_shares: Layer -> share of the time of a forward pass, where it was measured.
    """
    groups = list(dict.fromkeys(row.group for row in table if row.group))
    number = {name: place for place, name in enumerate(groups)}
    place = {row.name: index for index, row in enumerate(table) if row.role == Role.SITE}
    columns: dict[str, list[Any]] = {
        "name": [row.name for row in table],
        "role": [row.role.value for row in table],
        "site": [place.get(row.site, -1) for row in table],
        "kind": [row.kind for row in table],
        "group": [number.get(row.group, -1) for row in table],
        "unit": [row.unit for row in table],
        "total": [row.total for row in table],
        "removed": [row.removed for row in table],
        "threshold": [float(f"{row.threshold:.7g}") for row in table],
        "setting": [row.setting.value for row in table],
    }
    for index, name in enumerate(QUANTITIES):
        columns[name] = [None if row.before is None else row.before[index] for row in table]
        columns[f"{name}_after"] = [
            None if row.after is None else row.after[index] for row in table
        ]
    sparse: dict[str, Mapping[int, Any]] = {
        "notes": {i: list(row.notes) for i, row in enumerate(table) if row.notes},
        "wish": {i: row.wish for i, row in enumerate(table) if row.wish},
        "threshold_text": {
            i: row.threshold_text for i, row in enumerate(table) if row.threshold_text
        },
        "sensitivity": _measured(
            [row.name if row.role == Role.SITE else None for row in table], sensitivity or {}
        ),
        "time": _measured([row.layer for row in table], time_shares or {}),
    }
    return {
        "columns": columns,
        "sparse": sparse,
        "groups": [
            {
                "layers": list(coupled.get(name, ())),
                "mark": shared.index(name) if name in shared else -1,
            }
            for name in groups
        ],
    }


def _measured(names: Sequence[str | None], values: Mapping[str, Any]) -> dict[int, Any]:
    return {
        number: values[name]
        for number, name in enumerate(names)
        if name is not None and name in values
    }
