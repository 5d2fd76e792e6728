"""What to try first: the way of pruning that lost least in ``benchmarks.accuracy``."""

from typing import Final

from pruning_core.errors import InvalidRecipeError
from pruning_core.planning.recipe import Distillation, Recipe, Schedule, Threshold

MAX_ROUNDS: Final = 5
TEACHER: Final = Distillation(temperature=2.0, alpha=0.9)


def recommended(recipe: Recipe) -> Recipe:
    """Return the recipe with its epochs spread over rounds, taught by the dense network.

    As many epochs are trained as before. Up to five rounds prune less and less (cubic), each has
    as many epochs, and the last those that are left over. What cannot be done in rounds (mixed
    recipes, thresholds) stays in one. What leaves, and all other settings, are not touched.

    Raises:
        InvalidRecipeError: If nothing is fine-tuned.
    """
    epochs = recipe.n_epochs
    if epochs == 0:
        raise InvalidRecipeError(
            "tuning.epochs is 0, and the recommended way spreads epochs of fine-tuning over "
            "rounds. Set it to 1 or more; 5 and more let it work best."
        )
    rounds = min(MAX_ROUNDS, epochs) if _works_in_rounds(recipe) else 1
    each = epochs // rounds
    last = epochs - (rounds - 1) * each
    schedule = Schedule(
        rounds=rounds,
        last_epochs=None if last == each else last,
        max_drop=recipe.schedule.max_drop,
    )
    tuning = recipe.tuning.model_copy(update={"epochs": each, "distillation": TEACHER})
    return recipe.replace(schedule=schedule, tuning=tuning)


def _works_in_rounds(recipe: Recipe) -> bool:
    targets = (recipe.target, *recipe.layers.values())
    return not recipe.also and not any(isinstance(target, Threshold) for target in targets)
