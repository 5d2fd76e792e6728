"""What a run is called in lists: a line that says what was asked for, as a person would say it."""

from pathlib import Path
from typing import Final

from pruning_core.errors import PruningError
from pruning_core.loading.card import read_card
from pruning_core.loading.names import WEIGHTS, split_name
from pruning_core.planning.recipe import Budget, Count, Part, Ratio, Recipe, Threshold

_LEFT: Final = {"macs": "MACs", "params": "parameters", "bytes": "bytes"}
_SPREAD: Final = {"global": "", "local": " in each layer", "erk": " by layer size (ERK)"}
_TRAINED: Final = {"keep": "", "rewind": ", rewound", "reinitialise": ", re-initialised"}
_NAMES: Final = frozenset({"Taylor", "Fisher"})


def title_of(recipe: Recipe) -> str:
    """Return what was asked for: ``LeNet-300-100: weights by L1 norm, 50 % removed``."""
    return f"{model_name(recipe.model)}: {request_of(recipe)}"


def request_of(recipe: Recipe) -> str:
    """Return the same without the model."""
    schedule = recipe.schedule
    rounds = f", in {schedule.rounds} rounds" if schedule.rounds > 1 else ""
    if schedule.gradual and rounds:
        rounds = f", gradually in {schedule.rounds} steps"
    elif schedule.first_step is not None:
        rounds = f", in at most {schedule.rounds} adaptive rounds"
    own = len(set(recipe.layers) | set(recipe.pins))
    apart = f", {own} {'layer of its' if own == 1 else 'layers of their'} own" if own else ""
    also = "".join(f", also {_plural(part)}" for part in recipe.also)
    what = f"{_plural(recipe)} by {criterion_name(recipe)}, {_wish(recipe)}"
    return f"{what}{apart}{also}{rounds}{_TRAINED[schedule.weights]}"


def model_name(identity: str) -> str:
    """Return what a model is called: the title of a bundled one, a file or factory by its name."""
    prefix, _, name = identity.partition(":")
    if prefix == "bundled":
        try:
            return read_card(name).title
        except PruningError:  # of another release
            return name
    if prefix == WEIGHTS:
        file, architecture = split_name(name)
        return _file_name(file) + (f" in {architecture.partition(':')[2]}" if architecture else "")
    if prefix == "program" or (prefix == "transformers" and "/" in name):
        return Path(name).name
    return name or identity


def _file_name(file: str) -> str:
    """Return the name of a file of weights, of an upload the one it came with."""
    from pruning_core.loading.intake.store import find

    try:
        return find(file)[1].title
    except PruningError:  # a path
        return Path(file).name


def _wish(recipe: Recipe) -> str:
    """Return how much shall go."""
    target = recipe.target
    match target:
        case Ratio():
            wish = f"{100 * target.value:.4g} % removed"
        case Count():
            wish = f"{target.value:,} removed"
        case Threshold():
            wish = f"scores below {target.value:g} removed"
        case Budget():
            return f"at most {100 * target.value:.4g} % of the {_LEFT[target.kind]} left"
    return wish + _SPREAD[recipe.scope]


def _plural(part: Part) -> str:
    from pruning_core.granularities import GRANULARITIES

    key = part.granularity
    return GRANULARITIES[key].title.lower() if key in GRANULARITIES else key


def criterion_name(recipe: Recipe) -> str:
    """Return the criterion in running text, with what is not usual about it in brackets."""
    from pruning_core.scoring.criteria import CRITERIA

    key = recipe.criterion
    title = CRITERIA[key].title.partition(" (")[0] if key in CRITERIA else key
    first, _, rest = title.partition(" ")
    if first.isalpha() and first.istitle() and first not in _NAMES:
        title = f"{first.lower()} {rest}".strip()
    return title + recipe.rated_by.removeprefix(key)
