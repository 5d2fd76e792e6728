"""Everything that measuring plans of one recipe needs."""

from dataclasses import dataclass

from pruning_core.loading.dataset import Dataset
from pruning_core.loading.model import LoadedModel
from pruning_core.planning.recipe import Recipe
from pruning_core.scoring.score import Scores
from pruning_core.tracing.network import Network


@dataclass(frozen=True, slots=True, eq=False)
class Setup:
    """A model with its trace, scores and data.

    Attributes:
        recipe: What is pruned and how it is rated.
        model: The dense model.
        network: Its trace.
        scores: Its scores for the recipe.
        data: Its validation split is measured.
    """

    recipe: Recipe
    model: LoadedModel
    network: Network
    scores: Scores
    data: Dataset
