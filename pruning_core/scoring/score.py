"""Rate every unit of a network by a criterion; data flow through in batches, nothing grows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from pruning_core.errors import InvalidRecipeError, MissingEvidenceError, UnsupportedModelError
from pruning_core.granularities import GRANULARITIES, Granularity, Site
from pruning_core.loading.dataset import Split, load_dataset
from pruning_core.loading.model import LoadedModel, check_fits
from pruning_core.modes import evaluating
from pruning_core.planning.recipe import Recipe
from pruning_core.scoring import criteria as _criteria  # noqa: F401  (registers all criteria)
from pruning_core.scoring.criterion import (
    CRITERIA,
    Criterion,
    Drawn,
    Evidence,
    PerActivation,
    PerElement,
)
from pruning_core.scoring.normalise import comparable
from pruning_core.scoring.ranking import SiteRanking
from pruning_core.switches import reproducible
from pruning_core.tracing.analysis import stored_tensor
from pruning_core.tracing.network import Network
from pruning_core.tracing.rebuild import products_at_any_batch


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """How much each unit matters.

    Attributes:
        criterion: Key of the criterion.
        granularity: Key of the granularity.
        by_site: Site name -> ``[U]`` float32, finite; higher stays longer.
    """

    criterion: str
    granularity: str
    by_site: Mapping[str, NDArray[np.float32]]
    _rankings: dict[str, SiteRanking] = field(default_factory=dict, init=False, repr=False)

    def ranking(self, site: str) -> SiteRanking:
        """Return the units of ``site`` ranked; sorted once."""
        if site not in self._rankings:
            self._rankings[site] = SiteRanking(self.by_site[site])
        return self._rankings[site]

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
    criterion, granularity = CRITERIA[recipe.criterion], GRANULARITIES[recipe.granularity]
    _check_fits(criterion, granularity, recipe)
    sites = granularity.sites(network)
    if not sites:
        return Scores(criterion.key, granularity.key, {})
    with reproducible(), evaluating(network.module):
        raw = _raw(model, network, recipe, sites, calibration)
    by_site = {
        site.name: comparable(values.double().numpy(), recipe).astype(np.float32)
        for site, values in zip(sites, raw, strict=True)
    }
    for name, values in by_site.items():
        if not np.isfinite(values).all():
            raise UnsupportedModelError(
                f"The {criterion.title} scores of layer '{name}' are not all finite numbers: its "
                "weights hold NaN or infinite values, or the network overflows on the data."
            )
    return Scores(criterion.key, granularity.key, by_site)


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


def _raw(
    model: LoadedModel,
    network: Network,
    recipe: Recipe,
    sites: Sequence[Site],
    calibration: Split | None,
) -> list[Tensor]:
    criterion = CRITERIA[recipe.criterion]
    match criterion.rule:
        case Drawn(draw):
            generator = torch.Generator().manual_seed(recipe.seed)
            return [draw(site.n_units, generator) for site in sites]
        case PerActivation() as rule:
            batches = _batches(model, recipe, criterion, calibration)
            return _activation_scores(network, sites, rule, batches)
        case PerElement() as rule if Evidence.GRADIENTS in criterion.needs:
            batches = _batches(model, recipe, criterion, calibration)
            return _gradient_scores(network, sites, recipe, rule, batches)
        case PerElement() as rule:
            return _element_scores(network, sites, recipe, rule, {})


def _batches(
    model: LoadedModel, recipe: Recipe, criterion: Criterion, calibration: Split | None
) -> Iterator[tuple[Tensor, Tensor]]:
    key = recipe.data or model.data
    if calibration is None:
        if key is None:
            raise MissingEvidenceError(
                f"The criterion '{criterion.key}' needs data, and none belong to the model "
                f"'{model.identity}'. Name a data set, or choose l1, l2 or random."
            )
        calibration = load_dataset(key, source="bundled").calibration
    check_fits(model, tuple(calibration.inputs.shape[1:]), key or "calibration")
    n_samples = min(recipe.calibration.samples, len(calibration))
    size = recipe.calibration.batch_size
    for start in range(0, n_samples, size):
        yield calibration.batch(slice(start, min(start + size, n_samples)))


def _element_scores(
    network: Network,
    sites: Sequence[Site],
    recipe: Recipe,
    rule: PerElement,
    gradients: Mapping[str, Tensor | None],
) -> list[Tensor]:
    granularity = GRANULARITIES[recipe.granularity]

    def values(name: str) -> Tensor:
        return rule.value(network.tensor(name).detach(), gradients.get(name)).cpu()

    return [
        _reduced(granularity.gather(network, site, values, rule.combine), rule, recipe.reduction)
        for site in sites
    ]


def _reduced(rows: Tensor, rule: PerElement, reduction: str) -> Tensor:
    """Return one score for each unit, ``[S, U] -> [U]``, from its slices in ``S`` tensors."""
    match reduction:
        case "mean":
            return torch.stack([rule.finish(row) for row in rows]).mean(dim=0)
        case "max":
            return torch.stack([rule.finish(row) for row in rows]).amax(dim=0)
        case "first":
            return rule.finish(rows[0])
        case _:
            return rule.finish(rule.combine.over(rows, [0]))


def _gradient_scores(
    network: Network,
    sites: Sequence[Site],
    recipe: Recipe,
    rule: PerElement,
    batches: Iterator[tuple[Tensor, Tensor]],
) -> list[Tensor]:
    """Average the scores of single batches; only the running sums are kept."""
    totals = [torch.zeros(site.n_units, dtype=torch.float64) for site in sites]
    n_batches = 0
    for inputs, labels in batches:
        gradients = _gradients(network.module, inputs, labels)
        scores = _element_scores(network, sites, recipe, rule, gradients)
        for total, values in zip(totals, scores, strict=True):
            total += values
        n_batches += 1
    return [total / n_batches for total in totals]


def _gradients(module: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, Tensor | None]:
    """Return the gradient of the mean cross-entropy; the module's own ``grad`` stays untouched."""
    parameters = {
        name: parameter.detach().requires_grad_(parameter.is_floating_point())
        for name, parameter in module.named_parameters()
    }
    with torch.enable_grad():
        output = torch.func.functional_call(module, parameters, (inputs,))
        loss = nn.functional.cross_entropy(output, labels)
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return dict(zip(parameters, found, strict=True))


def _activation_scores(
    network: Network,
    sites: Sequence[Site],
    rule: PerActivation,
    batches: Iterator[tuple[Tensor, Tensor]],
) -> list[Tensor]:
    reader = _ActivationReader(network, rule)
    for inputs, _ in batches:
        with torch.no_grad():
            reader.run(inputs)
    means = rule.finish(reader.totals / reader.counts.clamp_min(1))
    starts = np.cumsum([0, *(site.n_units for site in sites)])
    return [means[starts[i] : starts[i + 1]] for i in range(len(sites))]


class _ActivationReader(fx.Interpreter):
    """Runs the traced graph and sums what every product reads, by unit.

    Reading at the moment of use is right also where operators work in place.
    """

    def __init__(self, network: Network, rule: PerActivation) -> None:
        module, analysis, names = products_at_any_batch(network)
        super().__init__(module)
        self.rule = rule
        self.totals = torch.zeros(analysis.n_units, dtype=torch.float64)
        self.counts = torch.zeros(analysis.n_units, dtype=torch.float64)
        self._reads: dict[str, list[tuple[str, int, Tensor]]] = {}
        for product in analysis.products:
            units = torch.from_numpy(analysis.unit_of[product.consumed].astype(np.int64))
            for operand, axis in product.operands:
                if stored_tensor(analysis, operand) is None and bool((units >= 0).any()):
                    read = (names[operand.name], axis, units)
                    self._reads.setdefault(names[product.node.name], []).append(read)

    def run_node(self, n: fx.Node) -> object:
        """Run one node, reading its activation operand first when it is a product."""
        for name, axis, units in self._reads.get(n.name, []):
            operand = next(node for node in n.all_input_nodes if node.name == name)
            self._add(self.env[operand], axis, units)
        return super().run_node(n)

    def _add(self, activation: Tensor, axis: int, units: Tensor) -> None:
        values = self.rule.value(activation.double())
        along = values.movedim(axis, 0).reshape(values.shape[axis], -1)
        live = units >= 0
        self.totals.index_add_(0, units[live], along.sum(dim=1)[live])
        size = torch.full((int(live.sum()),), along.shape[1], dtype=torch.float64)
        self.counts.index_add_(0, units[live], size)
