"""Recurrent networks."""

from torch import Tensor, nn

from pruning_core.loading.architecture import Architecture
from pruning_core.loading.architectures import ARCHITECTURES
from pruning_core.planning.recipe import Tuning


class RowGRU(nn.Module):
    """Reads an image row by row and classifies the last hidden state."""

    def __init__(self, n_columns: int, n_hidden: int, n_classes: int) -> None:
        super().__init__()
        self.gru = nn.GRU(n_columns, n_hidden, batch_first=True)
        self.fc = nn.Linear(n_hidden, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``[B, classes]`` of images ``[B, 1, rows, columns]``."""
        states, _ = self.gru(images.squeeze(1))  # [B, rows, hidden]
        logits: Tensor = self.fc(states[:, -1])
        return logits


def gru_128() -> nn.Module:
    """Return the network with 128 hidden units for rows of 28 pixels."""
    return RowGRU(28, 128, 10)


ARCHITECTURES.add(
    "gru_128",
    Architecture(
        key="gru_128",
        title="GRU-128 reading rows",
        description=(
            "A recurrent network that reads the 28 rows of an image in turn; a hidden unit leaves "
            "all three gates at once."
        ),
        data="fashion_mnist",
        input_shape=(1, 28, 28),
        build=gru_128,
        training=Tuning(epochs=10, learning_rate=2e-3, batch_size=128),
    ),
)
