"""What a click means for the recipe: pure functions from a recipe to the next one."""

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from pruning_core.errors import InvalidRecipeError
from pruning_core.planning.recipe import Budget, Count, Picks, Ratio, Recipe, Target, Threshold

if TYPE_CHECKING:
    from pruning_core.planning.plan import Plan
    from pruning_core.preview import Preview

LayerTarget = Ratio | Count | Threshold


def with_global(recipe: Recipe, target: Target) -> Recipe:
    """Set the global target; own settings of layers that are not pinned are dropped."""
    pinned = {name: own for name, own in recipe.layers.items() if name in recipe.pins}
    return recipe.replace(target=target, layers=pinned)


def dragged(recipe: Recipe, site: str, n_removed: int, threshold: float, n_below: int) -> Recipe:
    """Give ``site`` the dragged position: as a threshold, or as a count where scores are tied.

    Args:
        recipe: As it was.
        site: Name of the layer or group.
        n_removed: Units that leave at this position.
        threshold: Score of the first unit that stays.
        n_below: Units of the site that score below ``threshold``.
    """
    own = Threshold(value=threshold) if n_below == n_removed else Count(value=n_removed)
    return recipe.with_layer(site, own)


def with_granularity(recipe: Recipe, granularity: str) -> Recipe:
    """Change what is pruned; a share carries over, settings of single layers do not.

    Sums over units of different sizes cannot be compared as they are, so units that are more than
    one weight start with scores divided by the mean of their layer.
    """
    from pruning_core.granularities import GRANULARITIES

    target = recipe.target if isinstance(recipe.target, Ratio) else Ratio(value=0.0)
    return recipe.replace(
        granularity=granularity,
        normalise="none" if GRANULARITIES[granularity].single_weights else "mean",
        layers={},
        pins=(),
        picks={},
        target=target,
        also=tuple(part for part in recipe.also if part.granularity != granularity),
    )


def with_plain_criterion(recipe: Recipe) -> Recipe:
    """Rate by the criterion a recipe starts with, which can rate everything without data."""
    plain = Recipe(model=recipe.model)
    return recipe.replace(criterion=plain.criterion, reduction=plain.reduction)


def with_scores(recipe: Recipe, plan: "Plan", **changes: object) -> Recipe:
    """Change how units are rated; thresholds, which would lose their meaning, become counts.

    Args:
        recipe: As it was.
        plan: What it resolves to.
        changes: Fields that decide the scores, e.g. ``criterion``.
    """
    layers: dict[str, LayerTarget] = {
        site: Count(value=plan.n_removed(site)) if isinstance(own, Threshold) else own
        for site, own in recipe.layers.items()
    }
    target = recipe.target
    if isinstance(target, Threshold):
        target = Ratio(value=_share(_governed(recipe, plan), plan))
    return recipe.replace(layers=layers, target=target, **changes)


def with_kind(recipe: Recipe, kind: str, plan: "Plan", counted: "Preview") -> Recipe:
    """Say the global setting in another way, with the effect it has now.

    Args:
        recipe: As it was.
        kind: ``ratio``, ``count``, ``threshold``, ``params``, ``macs`` or ``bytes``.
        plan: What the recipe resolves to.
        counted: What the plan costs.
    """
    if kind == recipe.target.kind:
        return recipe
    governed = _governed(recipe, plan)
    removed = [plan.n_removed(site) for site in governed]
    target: Target
    match kind:
        case "ratio":
            target = Ratio(value=_share(governed, plan))
        case "count":
            target = Count(value=min(removed) if recipe.scope == "local" else sum(removed))
        case "threshold":
            target = Threshold(value=min(plan.thresholds[site] for site in governed))
        case "params" | "macs" | "bytes":
            name = "n_bytes" if kind == "bytes" else kind
            before, after = getattr(counted.before, name), getattr(counted.after, name)
            target = Budget(kind=kind, value=math.ceil(10_000 * after / before) / 10_000)
        case _:
            raise ValueError(kind)
    return recipe.replace(target=target)


def _governed(recipe: Recipe, plan: "Plan") -> list[str]:
    """Return the layers that the global setting decides; all when it decides none."""
    sites = list(plan.part(recipe.granularity))
    free = [site for site in sites if site not in recipe.layers and site not in recipe.pins]
    return free or sites


def _share(sites: list[str], plan: "Plan") -> float:
    """Return the share of the units of ``sites`` that leave."""
    total = sum(plan.keep[site].size for site in sites)
    return round(sum(plan.n_removed(site) for site in sites) / max(1, total), 4)


def with_tuning(recipe: Recipe, **changes: object) -> Recipe:
    """Change settings of the fine-tuning."""
    return recipe.replace(tuning=recipe.tuning.model_dump() | changes)


def with_sparse(recipe: Recipe, **changes: object) -> Recipe:
    """Change settings of the sparse training, which the recipe has."""
    before = recipe.sparse.model_dump() if recipe.sparse else {}
    return recipe.replace(sparse=before | changes)


def with_schedule(recipe: Recipe, **changes: object) -> Recipe:
    """Change how many rounds there are, and how pruning is spread over them."""
    return recipe.replace(schedule=recipe.schedule.model_dump() | changes)


def with_ratio(recipe: Recipe, sites: Collection[str], ratio: float) -> Recipe:
    """Give each of ``sites`` a ratio of its own, 0 to below 1; one that was spared is so no more.

    Raises:
        InvalidRecipeError: If ``ratio`` is out of range.
    """
    if not 0 <= ratio < 1:
        raise InvalidRecipeError(
            f"A layer can lose from 0 % to below 100 % of its units; {100 * ratio:g} % were asked "
            "for."
        )
    pins = [pin for pin in recipe.pins if pin not in sites or pin in recipe.layers]
    own = dict.fromkeys(sites, Ratio(value=ratio))
    return recipe.replace(layers={**recipe.layers, **own}, pins=tuple(pins))


def with_ratios(recipe: Recipe, ratios: Mapping[str, float]) -> Recipe:
    """Give each layer a ratio of its own, 0 to below 1; pinned layers are left as they are."""
    own = {site: Ratio(value=share) for site, share in ratios.items() if site not in recipe.pins}
    return recipe.replace(layers={**recipe.layers, **own})


def with_pins(recipe: Recipe, sites: Collection[str], plan: "Plan") -> Recipe:
    """Pin each of ``sites`` exactly as it is: it loses as many units as it does in ``plan``."""
    new = [site for site in sites if site not in recipe.pins]
    own = {site: Count(value=plan.n_removed(site)) for site in new}
    return recipe.replace(layers={**own, **recipe.layers}, pins=(*recipe.pins, *new))


def without_pins(recipe: Recipe, sites: Collection[str]) -> Recipe:
    """Unpin ``sites``; they keep their settings until the global one moves."""
    return recipe.replace(pins=tuple(name for name in recipe.pins if name not in sites))


def all_following(recipe: Recipe, sites: Collection[str]) -> Recipe:
    """Let each of ``sites`` follow the global setting again."""
    layers = {name: own for name, own in recipe.layers.items() if name not in sites}
    return without_pins(recipe, sites).replace(layers=layers)


def spared(recipe: Recipe, sites: Collection[str]) -> Recipe:
    """Let each of ``sites`` lose nothing, whatever the global setting: pinned without a target.

    Units of them that were picked by hand to go stay as well.
    """
    free = all_following(recipe, sites)
    picks = {
        site: Picks(keep=own.keep) if site in sites else own for site, own in recipe.picks.items()
    }
    return free.replace(
        pins=(*free.pins, *dict.fromkeys(sites)),
        picks={site: own for site, own in picks.items() if own.keep or own.prune},
    )
