"""Rate every unit of a network by a criterion; data flow through in batches, nothing grows."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, reduce

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pruning_core.errors import InvalidRecipeError, MissingEvidenceError, UnsupportedModelError
from pruning_core.granularities import GRANULARITIES, Combine, Elements, Granularity
from pruning_core.granularities.unit import slices
from pruning_core.loading.dataset import Split
from pruning_core.loading.model import LoadedModel, check_answers, check_fits, data_for
from pruning_core.modes import evaluating, restored
from pruning_core.planning.recipe import Recipe
from pruning_core.scoring import criteria as _criteria  # noqa: F401  (registers all criteria)
from pruning_core.scoring.blocks import BlockElements, widened
from pruning_core.scoring.criterion import (
    CRITERIA,
    Criterion,
    Drawn,
    Evidence,
    PerActivation,
    PerElement,
    PerElementOfNetwork,
    PerUnit,
    unchanged,
)
from pruning_core.scoring.gradients import Gradients, batch_gradients
from pruning_core.scoring.material import Batch, Material
from pruning_core.scoring.normalise import comparable
from pruning_core.scoring.ranking import GlobalRanking, SiteRanking, ranked
from pruning_core.scoring.reading import Read, reader, see_activations
from pruning_core.switches import reproducible
from pruning_core.tasks.registry import CLASSIFICATION, Task
from pruning_core.tracing.network import Network


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """How much each unit matters.

    Attributes:
        criterion: Key of the criterion.
        granularity: Key of the granularity.
        by_site: Site name -> ``[U]`` float32, finite; higher stays longer.
        unrated: Sites the criterion has nothing to say about, all their scores 0: they stay whole.
        parts: The scores of each part of a mixed recipe by its prefix, of which the names of sites
            here begin; empty when the recipe is not mixed.
    """

    criterion: str
    granularity: str
    by_site: Mapping[str, NDArray[np.float32]]
    unrated: frozenset[str] = frozenset()
    parts: Mapping[str, "Scores"] = field(default_factory=dict)
    _rankings: dict[str, SiteRanking] = field(default_factory=dict, init=False, repr=False)
    _together: dict[str, GlobalRanking] = field(default_factory=dict, init=False, repr=False)

    def part(self, prefix: str) -> "Scores":
        """Return the scores of one part of a mixed recipe; all of them when it is not mixed."""
        return self.parts.get(prefix, self)

    def ranking(self, site: str) -> SiteRanking:
        """Return the units of ``site`` ranked; sorted once."""
        for prefix, part in self.parts.items():
            if prefix and site.startswith(prefix):
                return part.ranking(site.removeprefix(prefix))
        if site not in self._rankings:
            pattern = GRANULARITIES[self.granularity].pattern
            self._rankings[site] = ranked(self.by_site[site], pattern)
        return self._rankings[site]

    def together(self, sites: Sequence[str], most: Sequence[int]) -> GlobalRanking:
        """Return at most ``most[s]`` units of each site in one ranking; the last one is kept."""
        key = repr((*sites, *most))
        if key not in self._together:
            self._together.clear()
            rankings = [self.ranking(site) for site in sites]
            self._together[key] = GlobalRanking(rankings, most)
        return self._together[key]

    def order(self, site: str) -> NDArray[np.int64]:
        """Return the units of ``site`` in the order they go: lowest score first, ties by index."""
        return self.ranking(site).order

    def ascending(self, site: str) -> NDArray[np.float32]:
        """Return the scores of ``site`` from the lowest to the highest."""
        return self.ranking(site).ascending


def score(
    model: LoadedModel, network: Network, recipe: Recipe, calibration: Split | None = None
) -> Scores:
    """Rate every unit of ``network`` as the recipe asks; the model is not changed.

    The same recipe gives the same bits on the same processor: everything runs on one thread, and
    calibration data are taken in order.

    Args:
        model: The loaded model; its data set calibrates when the recipe names no other.
        network: Its trace.
        recipe: Criterion, granularity, reduction, normalisation, order, calibration and seed are
            read.
        calibration: Labelled examples; None takes the data set's own calibration split.

    Raises:
        InvalidRecipeError: If the criterion cannot rate this granularity, or does not reduce.
        MissingEvidenceError: If data are needed and there are none.
        DataError: If the data do not fit the model.
        UnsupportedModelError: If scores are not finite.
    """
    if recipe.also:
        return _mixed(model, network, recipe, calibration)
    criterion, granularity = CRITERIA[recipe.criterion], GRANULARITIES[recipe.granularity]
    _check_fits(criterion, granularity, recipe)
    _check_can_run(criterion, network)
    sites = granularity.sites(network)
    if not sites:
        return Scores(criterion.key, granularity.key, {})

    data, task = _calibration(model, recipe, criterion, calibration)
    material = Material(network, granularity, sites, recipe.reduction, data, task)
    with reproducible(), evaluating(network.module), restored(network.module):
        raw = _raw(material, criterion, recipe.seed)
    by_site, unrated = {}, set()
    for site, values in zip(sites, raw, strict=True):
        if values is None:
            unrated.add(site.name)
            by_site[site.name] = np.zeros(site.n_units, np.float32)
        else:
            by_site[site.name] = _finite(
                comparable(widened(values).numpy(), recipe), criterion, site.name
            )
    if len(unrated) == len(sites):
        raise UnsupportedModelError(
            f"The criterion '{criterion.key}' can rate no layer of this model. "
            f"{criterion.description} Choose another criterion."
        )
    return Scores(criterion.key, granularity.key, by_site, frozenset(unrated))


def _mixed(
    model: LoadedModel, network: Network, recipe: Recipe, calibration: Split | None
) -> Scores:
    """Rate each part of a mixed recipe by itself, on the dense network."""
    parts = {
        prefix: score(model, network, part, calibration) for prefix, part in recipe.parts.items()
    }
    return Scores(
        recipe.criterion,
        recipe.granularity,
        {prefix + name: v for prefix, part in parts.items() for name, v in part.by_site.items()},
        frozenset(prefix + name for prefix, part in parts.items() for name in part.unrated),
        parts,
    )


def _finite(values: NDArray[np.float32], criterion: Criterion, site: str) -> NDArray[np.float32]:
    if not (np.isfinite(values.min()) and np.isfinite(values.max())):  # NaN is both
        raise UnsupportedModelError(
            f"The {criterion.title} scores of layer '{site}' are not all finite numbers: its "
            "weights hold NaN or infinite values, or the network overflows on the data."
        )
    return values


def _check_fits(criterion: Criterion, granularity: Granularity, recipe: Recipe) -> None:
    if not criterion.supports(granularity):
        rated = ", ".join(key for key, other in GRANULARITIES.items() if criterion.supports(other))
        raise InvalidRecipeError(
            f"The criterion '{criterion.key}' cannot rate the granularity '{granularity.key}'; "
            f"it rates: {rated}. Choose another criterion or granularity."
        )
    if recipe.reduction != "sum" and not criterion.reduces:
        raise InvalidRecipeError(
            f"The criterion '{criterion.key}' rates each unit as a whole, so there is nothing to "
            f"reduce by '{recipe.reduction}'. Set reduction to 'sum'."
        )


def _check_can_run(criterion: Criterion, network: Network) -> None:
    if not network.has_forward and criterion.needs - {Evidence.WEIGHTS}:
        raise MissingEvidenceError(
            f"The criterion '{criterion.key}' runs the network, and these are weights without an "
            "architecture. Choose one that reads weights only, e.g. l1 or l2."
        )


def _raw(material: Material, criterion: Criterion, seed: int) -> list[Tensor | None]:
    """Return ``[U]`` for each site, None where the criterion has nothing to say."""
    match criterion.rule:
        case Drawn(draw):
            generator = torch.Generator().manual_seed(seed)
            return [draw(site.n_units, generator) for site in material.sites]
        case PerActivation() as rule:
            return _activation_scores(material, rule)
        case PerElement() as rule if Evidence.GRADIENTS in criterion.needs:
            return [*_gradient_scores(material, rule)]
        case PerElement() as rule:
            return [*_scores_of(material, rule, {})]
        case PerElementOfNetwork(values, finish):
            return [*_reduced(material, Elements(values(material)), Combine.SUM, finish)]
        case PerUnit(scores):
            return [*scores(material)]


def _calibration(
    model: LoadedModel, recipe: Recipe, criterion: Criterion, given: Split | None
) -> tuple[Callable[[], Iterator[Batch]], Task]:
    """Return what starts the examples that the recipe asks for, and their task.

    There are no examples when none are needed.
    """
    if not criterion.needs_data:
        return lambda: iter(()), CLASSIFICATION
    key = recipe.data or model.data
    if given is None:
        if key is None:
            raise MissingEvidenceError(
                f"The criterion '{criterion.key}' needs data, and none belong to the model "
                f"'{model.identity}'. Name a data set, or choose l1, l2 or random."
            )
        given = data_for(model, key, source="bundled").calibration
    check_fits(model, tuple(given.inputs.shape[1:]), key or "calibration", given.task)
    given = given.as_tokens() if model.reads_tokens else given
    check_answers(model, given)
    examples, size = given.first(recipe.calibration.samples), recipe.calibration.batch_size
    starts = range(0, len(examples), size)
    return lambda: (examples.batch(slice(start, start + size)) for start in starts), given.task


def _reduced(
    material: Material,
    values: Elements,
    combine: Combine,
    finish: Callable[[Tensor], Tensor],
) -> Iterator[Tensor]:
    """Yield ``[U]`` for each site: element values, combined by unit and reduced over slices."""
    gather = material.granularity.gather
    for site in material.sites:
        rows = gather(material.network, site, values, combine)
        match material.reduction:
            case "mean":
                yield torch.stack([finish(row) for row in rows]).mean(dim=0)
            case "max":
                yield torch.stack([finish(row) for row in rows]).amax(dim=0)
            case "first":
                yield finish(next(rows))
            case _:
                yield finish(reduce(combine.both, rows))


def _scores_of(material: Material, rule: PerElement, gradients: Gradients) -> Iterator[Tensor]:
    def operands(name: str) -> tuple[Tensor, Tensor | None]:
        return material.network.tensor(name).detach(), gradients.get(name)

    if rule.power is not None and material.granularity.single_weights:
        magnitudes = Elements(lambda name: operands(name)[0].abs().cpu())
        return _reduced(material, magnitudes, rule.combine, unchanged)
    if rule.whole_tensors:  # both axes of a weight are asked for, one soon after the other
        values = lru_cache(maxsize=2)(lambda name: rule.value(*operands(name)).cpu())
        return _reduced(material, Elements(values), rule.combine, rule.finish)
    elements = BlockElements(rule, operands, _axes(material))
    return _reduced(material, elements, rule.combine, rule.finish)


def _axes(material: Material) -> dict[str, set[int]]:
    """Return for each parameter the axes along which slices leave that are to be rated."""
    found: dict[str, set[int]] = defaultdict(set)
    if material.granularity.coupled:
        for site in material.sites:
            parts = slices(material.network, material.network.group(site.name))
            for part in parts[:1] if material.reduction == "first" else parts:
                found[part.parameter].add(part.axis)
    return found


def _gradient_scores(material: Material, rule: PerElement) -> list[Tensor]:
    """Average the scores of single batches; only the running sums are kept."""
    totals = [torch.zeros(site.n_units, dtype=torch.float64) for site in material.sites]
    n_batches = 0
    for gradients in batch_gradients(material):
        for total, values in zip(totals, _scores_of(material, rule, gradients), strict=True):
            total += values
        n_batches += 1
    return [total / n_batches for total in totals]


def _activation_scores(material: Material, rule: PerActivation) -> list[Tensor | None]:
    """Average over everything that is read; one sum is kept for each index that a product reads."""
    sums: dict[Read, Tensor] = {}
    counts: dict[Read, int] = defaultdict(int)

    def see(read: Read, activation: Tensor, axis: int) -> None:
        others = [other for other in range(activation.ndim) if other != axis]
        along = rule.value(activation).sum(others).double()
        sums[read] = sums[read].add_(along) if read in sums else along
        counts[read] += activation.numel() // len(along)

    read_by = reader(material.network, lambda read: read.has_units)
    see_activations(read_by, material.batches(), see)
    n_units = sum(site.n_units for site in material.sites)
    totals, seen = torch.zeros(2, n_units, dtype=torch.float64)
    for read, along in sums.items():
        live = read.units >= 0
        totals.index_add_(0, read.units[live], along[live])
        seen.index_add_(0, read.units[live], torch.full_like(along, counts[read])[live])
    means = rule.finish(totals / seen.clamp_min(1))
    sizes = [site.n_units for site in material.sites]
    pairs = zip(torch.split(means, sizes), torch.split(seen, sizes), strict=True)
    return [values if bool((n > 0).all()) else None for values, n in pairs]
