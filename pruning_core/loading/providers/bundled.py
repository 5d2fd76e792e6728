"""The models shipped with Pruning Studio."""

from pruning_core.errors import DataError, UnknownNameError, UnsupportedModelError
from pruning_core.inputs import Inputs
from pruning_core.loading.architecture import build_initial
from pruning_core.loading.architectures import ARCHITECTURES
from pruning_core.loading.card import card_path, read_card, weights_path
from pruning_core.loading.provider import LoadedModel, Provider, example_input, loaded
from pruning_core.loading.providers import PROVIDERS
from pruning_core.loading.weights import file_sha256, read_weights


def bundled_names() -> tuple[str, ...]:
    """Return the names of the models that lie in the package."""
    return tuple(name for name in ARCHITECTURES if card_path(name).is_file())


def load(name: str, input_shape: tuple[int, ...] | None) -> LoadedModel:
    """Return the bundled model ``name`` after checking its file against its card."""
    names = bundled_names()
    if name not in names:
        raise UnknownNameError("bundled model", name, names)
    card = read_card(name)
    architecture = ARCHITECTURES[card.architecture]
    if input_shape not in {None, architecture.input_shape}:
        raise UnsupportedModelError(
            f"'bundled:{name}' takes inputs of shape {architecture.input_shape}, not "
            f"{input_shape}. Leave the input shape out."
        )
    path = weights_path(name)
    if file_sha256(path) != card.sha256:
        raise DataError(
            f"The weights '{path.name}' are not those of their card (their SHA-256 differs). "
            "Install Pruning Studio again."
        )
    module = build_initial(architecture, card.seed)
    module.load_state_dict(read_weights(path))
    inputs = Inputs.of(example_input(architecture.input_shape))
    return loaded(f"bundled:{name}", module, inputs, data=card.data, card=card)


PROVIDERS.add(
    "bundled",
    Provider(
        key="bundled",
        title="Bundled models",
        usage="bundled:NAME",
        runs_code=False,
        load=load,
    ),
)
