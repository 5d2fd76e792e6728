"""What the person who starts the server offers: ``streamlit run app.py -- --model IDENTITY``."""

import argparse
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, NoReturn

from pruning_core import loading
from pruning_core.commands.options import MODEL_HELP, add_input_shape
from pruning_core.errors import PruningError
from pruning_core.loading.glance import count_values
from pruning_core.loading.names import MOST_VALUES, WEIGHTS, identity_of, split_name
from pruning_core.loading.permitted import permit
from pruning_core.planning.recipe import Recipe

_SCRIPT: Final = "app.py"
_FILES: Final = (".npz", ".zip", ".csv", ".tsv", ".gz", ".txt", ".md")
_PROVIDERS: Final = Path(loading.__file__).parent / "providers"


@dataclass(frozen=True, slots=True)
class Offer:
    """What the pages offer besides the bundled models.

    Attributes:
        models: Identities; the first is open when a session starts.
        large: Paths of files of weights that are too large for plans, and are only looked at.
        data: Name of the data set these models are for; None if they have none.
        input_shape: Shape of one input, for models that do not know it.
    """

    models: tuple[str, ...] = ()
    large: tuple[Path, ...] = ()
    data: str | None = None
    input_shape: tuple[int, ...] | None = None

    def recipe(self, identity: str) -> Recipe:
        """Return the recipe a model starts with: weights by magnitude, nothing pruned yet."""
        if identity not in self.models:
            return Recipe(model=identity)
        return Recipe(model=identity, data=self.data, input_shape=self.input_shape)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise PruningError(
            f"The server was started with options that cannot be used: {message}. Start it with "
            "python app.py --model package.module:factory"
        )


def offer() -> Offer:
    """Return what the command line offers.

    Raises:
        PruningError: If its options cannot be read.
    """
    return _offer(tuple(sys.argv))


@lru_cache(maxsize=1)
def _offer(argv: tuple[str, ...]) -> Offer:
    if not argv or Path(argv[0]).name != _SCRIPT:
        permit(())
        return Offer()
    parser = _Parser(prog="streamlit run app.py --", add_help=False)
    parser.add_argument("--model", action="append", default=[], help=MODEL_HELP)
    parser.add_argument("--data")
    add_input_shape(parser)
    found = parser.parse_args(argv[1:])
    named = tuple(dict.fromkeys(map(_identity, found.model)))
    large = tuple(path for path in map(_large, named) if path is not None)
    models = tuple(name for name in named if _large(name) is None)
    data = _data(found.data)
    permit([*models, *([data] if data else [])])
    return Offer(models, large, data, found.input_shape)


def _large(identity: str) -> Path | None:
    """Return the path of weights alone that are too large for plans; None for everything else."""
    prefix, _, name = identity.partition(":")
    file, architecture = split_name(name)
    if prefix != WEIGHTS or architecture or not file.lower().endswith(".safetensors"):
        return None
    return Path(file) if count_values(Path(file)) > MOST_VALUES else None


def _data(name: str | None) -> str | None:
    """Return the name of the data; ``package.module:function`` alone is Python code.

    A file may have its task before it: ``regression:prices.csv``.
    """
    if name is None or ":" not in name or name.startswith(("python:", "upload:")):
        return name
    if Path(name).suffix.lower() in _FILES:
        return name
    return f"python:{name}"


def _identity(name: str) -> str:
    """Return the identity of a model; a file, a folder and ``package.module:factory`` need none."""
    found = identity_of(name)
    is_known = (_PROVIDERS / f"{found.partition(':')[0]}.py").is_file()
    return found if is_known else f"python:{found}"
