"""Which plan a search between accuracy and cost measures next: Optuna proposes ratios by layer.

Source of the sampler: Ozaki et al. 2022, multiobjective tree-structured Parzen estimator,
doi:10.1613/jair.1.13188.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pruning_core.evaluation.tradeoff import choices, knobs
from pruning_core.planning.recipe import Ratio, Recipe
from pruning_core.planning.resolve import resolve
from pruning_core.scoring.score import Scores
from pruning_core.tracing.network import Network

if TYPE_CHECKING:
    import optuna

FIRST: Final = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85)
"""Ratios of the global ranking that are measured before the sampler chooses."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A plan to measure.

    Attributes:
        ratios: Share that every layer is asked to lose, by layer.
        ranked: Ratio of the global ranking that it comes from; None: the sampler chose it.
        parameters: The same by knob, as the study knows them.
        kinds: What each knob may be.
        trial: Of the sampler; None for the global ranking.
    """

    ratios: Mapping[str, float]
    ranked: float | None
    parameters: Mapping[str, float]
    kinds: "Mapping[str, optuna.distributions.BaseDistribution]"
    trial: "optuna.Trial | None"

    def tell(
        self, study: "optuna.Study", values: Sequence[float], attributes: Mapping[str, Any]
    ) -> None:
        """Tell the study what was measured, with what shall be remembered beside it."""
        import optuna

        if self.trial is None:
            study.add_trial(
                optuna.trial.create_trial(
                    params=dict(self.parameters),
                    distributions=dict(self.kinds),
                    values=values,
                    user_attrs=dict(attributes),
                )
            )
            return
        for key, value in attributes.items():
            self.trial.set_user_attr(key, value)
        study.tell(self.trial, values)


class Asking:
    """Asks a study for plans of one recipe."""

    def __init__(self, recipe: Recipe, network: Network, scores: Scores) -> None:
        """Find what can be varied.

        Args:
            recipe: Without other parts; pinned layers are left as they are.
            network: The traced network.
            scores: Its scores for the recipe.
        """
        self._recipe, self._network, self._scores = recipe, network, scores
        self._knobs = knobs(recipe, network)

    def next_plan(self, study: "optuna.Study", known: Collection[float | None]) -> Asked:
        """Return the plan to measure: of the global ranking at first, then of the sampler.

        Args:
            study: Maximises the accuracy and minimises the cost.
            known: Ratios of the global ranking that were measured already.
        """
        kinds = {str(place): self._kind() for place in range(len(self._knobs))}
        ranked = next((share for share in FIRST if share not in known), None)
        trial = None if ranked is not None else study.ask(kinds)
        parameters = trial.params if trial else self._by_ranking(ranked or 0.0)
        ratios = {
            site: round(float(parameters[str(place)]), 2)
            for place, sites in enumerate(self._knobs)
            for site in sites
        }
        return Asked(ratios, ranked, parameters, kinds, trial)

    def _by_ranking(self, share: float) -> dict[str, float]:
        """Return what the global ranking takes of each knob when ``share`` of all units goes."""
        ranked = self._recipe.replace(target=Ratio(value=share), layers={}, pins=(), scope="global")
        plan = resolve(ranked, self._network, self._scores)
        possible = choices(self._recipe)
        lost = [sum(map(plan.ratio, sites)) / len(sites) for sites in self._knobs]
        return {
            str(place): min(possible, key=lambda choice: abs(choice - own))
            for place, own in enumerate(lost)
        }

    def _kind(self) -> "optuna.distributions.BaseDistribution":
        import optuna

        possible = choices(self._recipe)
        if len(possible) == 2:
            return optuna.distributions.CategoricalDistribution(possible)
        step = possible[1] - possible[0]
        return optuna.distributions.FloatDistribution(possible[0], possible[-1], step=step)
