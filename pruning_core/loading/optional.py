"""Packages that only some sources of models need: imported on use, refused with a sentence."""

import importlib
import warnings
from collections.abc import Callable
from typing import Any, Final, TypeVar

import torch

from pruning_core.errors import PruningError, UnsupportedModelError, first_line

WEIGHTS_SEED: Final = 0
RANDOM_WEIGHTS: Final = f"Its weights are random (seed {WEIGHTS_SEED}); nothing was downloaded."

T = TypeVar("T")


def optional_package(name: str) -> Any:
    """Import the package ``name``.

    Raises:
        UnsupportedModelError: If it is not installed, or its version does not go with PyTorch's.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise _broken(name, error) from error
        raise UnsupportedModelError(
            f"Models called '{name}:...' need the package {name}, which is not installed. Install "
            "it with: python -m pip install -r requirements-models.txt"
        ) from None
    except (ImportError, RuntimeError, AttributeError) as error:
        raise _broken(name, error) from error


def _broken(name: str, error: Exception) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"The package {name} cannot be imported ({first_line(error)}). Install versions that fit "
        f"PyTorch {torch.__version__}."
    )


def seeded(identity: str, build: Callable[[], T]) -> T:
    """Return what ``build`` makes with torch's global generator at a fixed seed.

    Raises:
        UnsupportedModelError: If building fails.
    """
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on defaults of the packages
            torch.default_generator.manual_seed(WEIGHTS_SEED)
            return build()
    except PruningError:
        raise
    except Exception as error:  # whatever a constructor raises
        raise UnsupportedModelError(
            f"'{identity}' cannot be built: {type(error).__name__}: {first_line(error)}"
        ) from error
