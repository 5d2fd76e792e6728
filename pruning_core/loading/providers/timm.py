"""Image models of timm (PyTorch Image Models)."""

from typing import Any

from torch import nn

from pruning_core.errors import UnknownNameError, UnsupportedModelError
from pruning_core.inputs import Inputs
from pruning_core.loading.optional import RANDOM_WEIGHTS, optional_package, seeded
from pruning_core.loading.provider import LoadedModel, Provider, example_input, loaded
from pruning_core.loading.providers import PROVIDERS


def load(name: str, input_shape: tuple[int, ...] | None) -> LoadedModel:
    """Return the timm model ``name`` with random weights.

    Its input has the size that timm's metadata name; another number of channels, or for models of
    one size another size, is passed on to the model's constructor.
    """
    timm = optional_package("timm")
    names = timm.list_models()
    if name.partition(".")[0] not in names:
        raise UnknownNameError("timm model", name, names)
    config = timm.get_pretrained_cfg(name)
    known = tuple(getattr(config, "input_size", None) or (3, 224, 224))
    shape = known if input_shape is None else input_shape
    if len(shape) != 3:
        raise UnsupportedModelError(
            f"'timm:{name}' takes images, but the input shape {shape} was given. Give channels, "
            "height and width, e.g. 3,224,224."
        )
    options: dict[str, Any] = {}
    if shape[0] != known[0]:
        options["in_chans"] = shape[0]
    if shape[1:] != known[1:] and getattr(config, "fixed_input_size", False):
        options["img_size"] = shape[1:]
    module: nn.Module = seeded(
        f"timm:{name}", lambda: timm.create_model(name, pretrained=False, **options)
    )
    return loaded(f"timm:{name}", module, Inputs.of(example_input(shape)), note=RANDOM_WEIGHTS)


PROVIDERS.add(
    "timm",
    Provider(
        key="timm",
        title="timm (PyTorch Image Models)",
        usage="timm:NAME",
        runs_code=False,
        load=load,
        package="timm",
    ),
)
