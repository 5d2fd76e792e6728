"""Models made by a function of the user's own, named by its import path."""

import importlib
import re
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Final

import torch
from torch import Tensor, nn

from pruning_core.errors import PruningError, UnsupportedModelError
from pruning_core.inputs import Inputs
from pruning_core.loading.provider import LoadedModel, Provider, example_input, loaded
from pruning_core.loading.providers import PROVIDERS

USAGE: Final = "python:package.module:factory"
_PATH: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_FACTORY_SEED: Final = 0


def load(name: str, input_shape: tuple[int, ...] | None) -> LoadedModel:
    """Return what the factory ``package.module:factory`` makes.

    The factory takes no arguments and returns a Module, or a pair of a Module and its example
    inputs: one tensor, a tuple of positional or a dictionary of keyword arguments (tensors in any
    nesting, batch axis first). It runs with torch's global random
    generator seeded with 0, so that fresh weights are the same every time.
    """
    identity = f"python:{name}"
    factory = _find(identity, name)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(_FACTORY_SEED)
            made = factory()
    except PruningError:
        raise
    except (Exception, SystemExit) as error:
        raise UnsupportedModelError(
            f"The factory of '{identity}' failed with {_shown(error)}. Call it in Python to see "
            "where."
        ) from error
    module, examples = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, nn.Module):
        raise UnsupportedModelError(
            f"The factory of '{identity}' returned {_article(made)}; it must return a "
            "torch.nn.Module, or a pair of a Module and its example inputs."
        )
    return loaded(identity, module.cpu(), _example_inputs(identity, examples, input_shape))


def _find(identity: str, name: str) -> Callable[[], object]:
    """Import the module and return the factory."""
    module_name, _, attribute = name.partition(":")
    if not (_PATH.fullmatch(module_name) and _PATH.fullmatch(attribute)):
        raise UnsupportedModelError(
            f"'{identity[:120]}' names no factory. Write {USAGE}, e.g. python:my_models:build."
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UnsupportedModelError(
            f"'{identity}' cannot be loaded: no module is called '{error.name}'. Name the "
            "folder that holds your module in PYTHONPATH, or install your package."
        ) from error
    except (Exception, SystemExit) as error:
        raise UnsupportedModelError(
            f"'{identity}' cannot be loaded: importing '{module_name}' failed with {_shown(error)}."
        ) from error
    try:
        found = reduce(getattr, attribute.split("."), module)
    except AttributeError:
        raise UnsupportedModelError(
            f"'{identity}' cannot be loaded: the module '{module_name}' has no '{attribute}'."
        ) from None
    if not callable(found):
        raise UnsupportedModelError(
            f"'{identity}' cannot be loaded: '{attribute}' is {_article(found)}, not a function "
            "that makes a model."
        )
    return found


def _example_inputs(identity: str, examples: object, input_shape: tuple[int, ...] | None) -> Inputs:
    """Return inputs of one sample: the factory's own, or made from ``input_shape``."""
    if examples is None and input_shape is None:
        raise UnsupportedModelError(
            f"'{identity}' does not say what its inputs look like. Give an input shape (one "
            "sample, without the batch axis, e.g. 3,32,32), or return (model, example_inputs)."
        )
    if examples is None:
        return Inputs.of(example_input(input_shape or ()))
    given = Inputs.of(examples) if isinstance(examples, Tensor | tuple | Mapping) else Inputs()
    if not given.batch_size:
        raise UnsupportedModelError(
            f"The example inputs of '{identity}' are {_article(examples)}; they must be a tensor, "
            "a tuple of positional or a dictionary of keyword arguments, and hold a tensor, batch "
            "axis first."
        )
    sample = given.with_tensors(tensor.detach().cpu() for tensor in given.tensors).sample()
    shape = tuple(sample.tensors[0].shape[1:])
    if input_shape is not None and shape != input_shape:
        raise UnsupportedModelError(
            f"The example input of '{identity}' has the shape {shape}, but "
            f"the input shape {input_shape} was given. Leave the input shape out."
        )
    return sample


def _shown(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _article(value: object) -> str:
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


PROVIDERS.add(
    "python",
    Provider(
        key="python",
        title="Your own Python code",
        usage=USAGE,
        runs_code=True,
        load=load,
    ),
)
