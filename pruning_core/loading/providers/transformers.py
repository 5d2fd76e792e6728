"""Models of Hugging Face transformers: a type with fresh weights, or a folder on this machine.

Nothing is ever downloaded, no code that a folder brings is run, and weights come out of safetensors
files only.
"""

import inspect
import json
import os
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from pruning_core.errors import DataError, UnknownNameError, UnsupportedModelError, first_line
from pruning_core.inputs import Inputs
from pruning_core.loading.optional import RANDOM_WEIGHTS, optional_package, seeded
from pruning_core.loading.provider import LoadedModel, Provider, example_input, loaded
from pruning_core.loading.providers import PROVIDERS
from pruning_core.loading.small_config import small_config

_LARGEST_DEFAULT: Final = 200_000_000
_MAX_CONFIG_BYTES: Final = 1_000_000
_TOKENS, _TARGET_TOKENS, _AUDIO, _IMAGE = 16, 8, 16_000, 224
# The tasks a type is built for, the first that it knows; then the bare model.
_TASKS: Final = (
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
    "MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES",
    "MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES",
    "MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES",
    "MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES",
    "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_CTC_MAPPING_NAMES",
    "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES",
    "MODEL_MAPPING_NAMES",
)


def load(name: str, input_shape: tuple[int, ...] | None) -> LoadedModel:
    """Return a model of the type ``name`` with random weights, or the one in the folder ``name``.

    A type whose default configuration has more than 200 million parameters is built from a
    smaller one. ``input_shape`` is the shape of the model's main input: a number of tokens, or
    channels, height and width.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    transformers = optional_package("transformers")
    transformers.utils.logging.set_verbosity_error()
    identity = f"transformers:{name}"
    if "/" in name or os.sep in name or name in {".", ".."}:
        module, note = _of_folder(transformers, identity, Path(name))
    else:
        module, note = _of_type(transformers, identity, name)
    set_experts: Any = getattr(module, "set_experts_implementation", None)
    if set_experts is not None:
        set_experts("batched_mm")  # the others cannot be recorded
    inputs = seeded(identity, lambda: _inputs(module, input_shape))
    return loaded(identity, module, inputs, note=note)


def _of_type(transformers: Any, identity: str, name: str) -> tuple[nn.Module, str]:
    auto = transformers.models.auto
    known = set(auto.modeling_auto.MODEL_MAPPING_NAMES)
    if name not in known:
        raise UnknownNameError("transformers model type", name, known)
    config = seeded(identity, lambda: transformers.AutoConfig.for_model(name))
    kind = _class_for(transformers, name)
    count = seeded(identity, lambda: _n_parameters(kind, config))
    note = RANDOM_WEIGHTS
    if count > _LARGEST_DEFAULT:
        changes = small_config(config)
        config = seeded(identity, lambda: transformers.AutoConfig.for_model(name, **changes))
        note += f" It is a small configuration of its type, whose default has {count:,} parameters."
    return seeded(identity, lambda: _fresh(kind, config)), note


def _class_for(transformers: Any, name: str) -> Any:
    mappings = transformers.models.auto.modeling_auto
    for task in _TASKS:
        found = getattr(mappings, task, {}).get(name)
        if found is not None:
            return getattr(transformers, found if isinstance(found, str) else found[0])
    raise UnsupportedModelError(f"transformers has no model for the type '{name}'.")


def _n_parameters(kind: Any, config: Any) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in _fresh(kind, config).parameters())


def _fresh(kind: Any, config: Any) -> nn.Module:
    for name, value in (("use_cache", False), ("use_pretrained_backbone", False)):
        if hasattr(config, name):
            setattr(config, name, value)
    module: nn.Module = kind(config)
    return module


def _of_folder(transformers: Any, identity: str, folder: Path) -> tuple[nn.Module, str]:
    path = folder / "config.json"
    try:
        with path.open("rb") as stream:
            written = json.loads(stream.read(_MAX_CONFIG_BYTES))
    except (OSError, ValueError) as error:
        raise DataError(
            f"'{path}' cannot be read: {first_line(error)}. Give a folder with a config.json and "
            "safetensors weights, as save_pretrained writes it."
        ) from None
    if not any(folder.glob("*.safetensors")):
        raise DataError(
            f"The folder '{folder}' has no safetensors weights. Other formats can run code when "
            "they are opened; convert them with save_pretrained."
        )
    named = written.get("architectures") if isinstance(written, dict) else None
    kind: Any = getattr(transformers, str(named[0]), None) if named else None
    if not _is_model_class(transformers, kind):
        raise UnsupportedModelError(
            f"The config.json in '{folder}' names no class of transformers as its architecture."
        )
    module: nn.Module = seeded(
        identity,
        lambda: kind.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation="sdpa" if kind._supports_sdpa else "eager",
        ),
    )
    if hasattr(module.config, "use_cache"):
        module.config.use_cache = False
    return module, ""


def _is_model_class(transformers: Any, kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, transformers.PreTrainedModel)


def _inputs(module: Any, input_shape: tuple[int, ...] | None) -> Inputs:
    """Return keyword arguments for one sample, with the sizes that the configuration names."""
    config, main = module.config, module.main_input_name
    kwargs: dict[str, Tensor] = {main: _main_input(main, config, input_shape)}
    parts = vars(config).keys() & {"text_config", "vision_config"}
    if len(parts) == 2 and hasattr(module, "logit_scale"):  # two towers, each with its input
        kwargs.setdefault("input_ids", _main_input("input_ids", config.text_config, None))
        kwargs.setdefault("pixel_values", _main_input("pixel_values", config.vision_config, None))
    if "decoder_input_ids" in inspect.signature(module.forward).parameters:
        kwargs["decoder_input_ids"] = _tokens(config, (_TARGET_TOKENS,))
    return Inputs((), kwargs)


def _main_input(name: str, config: Any, input_shape: tuple[int, ...] | None) -> Tensor:
    if name == "input_ids":
        return _tokens(config, input_shape or (_TOKENS,))
    if input_shape is not None:
        return example_input(input_shape)
    if name == "pixel_values":
        return example_input(_image_shape(config))
    if name == "input_features":
        return example_input(_feature_shape(config))
    if name == "input_values":
        bins = getattr(config, "num_mel_bins", None)
        return example_input((_AUDIO,) if bins is None else (config.max_length, bins))
    raise UnsupportedModelError(
        f"The model's main input is called '{name}', whose shape its configuration does not say. "
        "Give an input shape (one sample, without the batch axis)."
    )


def _tokens(config: Any, shape: tuple[int, ...]) -> Tensor:
    """Return token numbers that no rule treats specially (those of padding and ends lie low)."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    size = int(getattr(text, "vocab_size", 2))
    generator = torch.Generator().manual_seed(0)
    return torch.randint(size // 2, max(size - 8, size // 2 + 1), (1, *shape), generator=generator)


def _image_shape(config: Any) -> tuple[int, ...]:
    places = [config, *(getattr(config, f"{part}_config", None) for part in ("vision", "backbone"))]
    size, channels = _first(places, "image_size", _IMAGE), _first(places, "num_channels", 3)
    height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
    frames = getattr(config, "num_frames", None)
    image = (channels, height, width)
    return image if frames is None else (frames, *image)


def _feature_shape(config: Any) -> tuple[int, ...]:
    if hasattr(config, "max_source_positions") and hasattr(config, "num_mel_bins"):
        return (config.num_mel_bins, 2 * config.max_source_positions)
    size = getattr(config, "feature_projection_input_dim", None)
    size = size or getattr(config, "input_feat_per_channel", None)
    if size is None:
        raise UnsupportedModelError(
            "The configuration does not say how large the model's input is. Give an input shape "
            "(one sample, without the batch axis)."
        )
    return (2 * _TOKENS, int(size))


def _first(places: list[Any], name: str, default: Any) -> Any:
    found = (getattr(place, name, None) for place in places)
    return next((value for value in found if isinstance(value, int | list | tuple)), default)


PROVIDERS.add(
    "transformers",
    Provider(
        key="transformers",
        title="Hugging Face transformers",
        usage="transformers:NAME or transformers:./folder",
        runs_code=False,
        load=load,
        package="transformers",
    ),
)
