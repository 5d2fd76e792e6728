"""Models of torchvision: classification, segmentation, detection, video and optical flow."""

import inspect
from typing import Any

from torch import nn

from pruning_core.errors import UnknownNameError
from pruning_core.inputs import Inputs
from pruning_core.loading.optional import RANDOM_WEIGHTS, optional_package, seeded
from pruning_core.loading.provider import LoadedModel, Provider, example_input, loaded
from pruning_core.loading.providers import PROVIDERS

_FRAMES = 16
_DETECTION_SIZE = 320


def load(name: str, input_shape: tuple[int, ...] | None) -> LoadedModel:
    """Return the torchvision model ``name`` with random weights.

    Its input has the size that its published weights were made for, unless a shape is given.
    """
    models = optional_package("torchvision").models
    names = models.list_models()
    if name not in names:
        raise UnknownNameError("torchvision model", name, names)
    builder = models.get_model_builder(name)
    options: dict[str, Any] = {"weights": None}
    if "weights_backbone" in inspect.signature(builder).parameters:
        options["weights_backbone"] = None  # by default those of the backbone are downloaded
    module: nn.Module = seeded(f"torchvision:{name}", lambda: builder(**options))
    example = example_input(input_shape or _input_shape(models, name, module))
    is_flow = builder.__module__.startswith("torchvision.models.optical_flow")
    inputs = Inputs((example, example.flip(-1)) if is_flow else (example,))
    return loaded(f"torchvision:{name}", module, inputs, note=RANDOM_WEIGHTS)


def _input_shape(models: Any, name: str, module: nn.Module) -> tuple[int, ...]:
    """Return the shape of one sample according to the metadata of the published weights."""
    place = type(module).__module__
    weights = models.get_model_weights(name).DEFAULT
    least = weights.meta.get("min_size", (1, 1))
    if place.startswith("torchvision.models.detection"):
        return (3, *(max(_DETECTION_SIZE, size) for size in least))
    preset = weights.transforms()
    size = getattr(module, "image_size", None)  # vision transformers take one size only
    crop = getattr(preset, "crop_size", None) or getattr(preset, "resize_size", None) or [128]
    height, width = (size, size) if size else (crop[0], crop[-1])
    return (3, _FRAMES, height, width) if "video" in place else (3, height, width)


PROVIDERS.add(
    "torchvision",
    Provider(
        key="torchvision",
        title="torchvision",
        usage="torchvision:NAME",
        runs_code=False,
        load=load,
        package="torchvision",
    ),
)
