"""The card of a bundled model: what it is, how it was trained and how good it is."""

from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pruning_core.errors import DataError
from pruning_core.planning.recipe import Tuning
from pruning_core.tasks import CLASSES

MODELS_FOLDER: Final = Path(__file__).parent / "assets" / "models"

Share = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ModelCard(BaseModel):
    """What the JSON card beside the weights of a bundled model says.

    Attributes:
        name: The model is called ``bundled:<name>``.
        title: Its name on the screen.
        description: One or two sentences for the screen.
        architecture: Name in ``ARCHITECTURES``.
        data: Name in ``DATASETS``.
        data_title: Name of the data set on the screen.
        data_source: Which copy of the data it was trained on.
        n_train: Training examples.
        training: Settings of the training; all of it started from the initial weights of ``seed``.
        seed: Decides the initial weights and every random draw of the training.
        epochs: Epochs trained; the weights are those after the last one.
        task: Key of what it does.
        accuracy: Share of correct answers on the test split, 0..1, or what another task is judged
            by.
        n_test: Examples of the test split.
        validation_accuracy: The same on the validation split.
        n_validation: Examples of the validation split.
        n_params: Number of parameters.
        first_layer: Name of the parameter that the first layer multiplies with, so that it can be
            shown before PyTorch is there.
        sha256: Of the weights file.
        initial_digest: Digest of the initial weights.
        trained_with: Version of PyTorch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    name: str
    title: str
    description: str
    architecture: str
    data: str
    data_title: str = ""
    data_source: str
    n_train: int
    training: Tuning
    seed: int
    epochs: int
    task: str = CLASSES
    accuracy: Share
    n_test: int
    validation_accuracy: Share
    n_validation: int
    n_params: int
    first_layer: str = ""
    sha256: Sha256
    initial_digest: Sha256
    trained_with: str

    @property
    def identity(self) -> str:
        """What ``load_model`` calls the model."""
        return f"bundled:{self.name}"


def weights_path(name: str) -> Path:
    """Return where the weights of the bundled model ``name`` lie."""
    return MODELS_FOLDER / f"{name}.safetensors"


def card_path(name: str) -> Path:
    """Return where the card of the bundled model ``name`` lies."""
    return MODELS_FOLDER / f"{name}.json"


def read_card(name: str) -> ModelCard:
    """Return the card of the bundled model ``name``.

    Raises:
        DataError: If the card is missing or damaged.
    """
    path = card_path(name)
    try:
        return ModelCard.model_validate_json(path.read_bytes())
    except OSError as error:
        problem = error.strerror or str(error)
    except ValidationError as error:
        problem = f"{error.error_count()} fields are wrong"
    raise DataError(
        f"The card '{path.name}' of a bundled model cannot be read: {problem}. Install Pruning "
        "Studio again."
    )


def read_cards() -> tuple[ModelCard, ...]:
    """Return the cards of the bundled models, the smallest model first; needs no PyTorch.

    Raises:
        DataError: If a card is damaged.
    """
    names = sorted(path.stem for path in MODELS_FOLDER.glob("*.json"))
    return tuple(sorted(map(read_card, names), key=lambda card: card.n_params))


def write_card(card: ModelCard) -> None:
    """Write ``card`` beside the weights it describes."""
    card_path(card.name).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
