"""The lottery-ticket bench: one recipe in four forms, each an ordinary run of one group.

A ticket is what pruning leaves of a trained network. The hypothesis (Frankle and Carbin 2019,
arXiv:1803.03635) is that it trains well from the weights the network began with, and badly from
others; a random mask of the same size is the second control.
"""

from collections.abc import Mapping

from pruning_core.errors import InvalidRecipeError
from pruning_core.loading.initial import initial_module
from pruning_core.loading.model import LoadedModel
from pruning_core.planning.recipe import Recipe
from pruning_core.runs.rounds import check_rounds


def ticket_recipes(recipe: Recipe, model: LoadedModel) -> Mapping[str, Recipe]:
    """Return the recipes of the bench by label.

    With one round the first three keep exactly the same weights or units. With several, each finds
    its own, because the scores of later rounds depend on what was trained.

    Args:
        recipe: Says what is pruned and how it is trained; its ``schedule.weights`` is not used.
        model: The model it names.

    Raises:
        InvalidRecipeError: If nothing is trained, or training is not started anew after pruning.
        RunError: If the initial weights of the model are not known.
    """
    if recipe.schedule.max_drop is not None:
        raise InvalidRecipeError(
            f"The bench compares networks of one size, and schedule.max_drop is "
            f"{recipe.schedule.max_drop:g}, which may end the rounds of each at another. Leave it "
            "out."
        )

    def form(weights: str, **changes: object) -> Recipe:
        schedule = recipe.schedule.model_copy(update={"weights": weights})
        return recipe.replace(schedule=schedule, **changes)

    recipes = {
        "trained weights": form("keep"),
        "rewound": form("rewind"),
        "re-initialised": form("reinitialise"),
        "random mask": form("rewind", criterion="random", reduction="sum", reverse=False),
    }
    check_rounds(recipes["rewound"])
    initial_module(model)
    return recipes
