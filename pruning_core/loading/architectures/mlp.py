"""Fully connected networks."""

from torch import Tensor, nn
from torch.nn import functional

from pruning_core.loading.architecture import Architecture
from pruning_core.loading.architectures import ARCHITECTURES
from pruning_core.planning.recipe import Tuning


class MLP(nn.Module):
    """Two hidden layers with ReLU over the flattened image."""

    def __init__(self, n_inputs: int, n_hidden1: int, n_hidden2: int, n_classes: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(n_inputs, n_hidden1)
        self.fc2 = nn.Linear(n_hidden1, n_hidden2)
        self.fc3 = nn.Linear(n_hidden2, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``[B, classes]`` of images ``[B, 1, H, W]``."""
        hidden = functional.relu(self.fc1(images.flatten(1)))
        hidden = functional.relu(self.fc2(hidden))
        logits: Tensor = self.fc3(hidden)
        return logits


def mlp_digits() -> nn.Module:
    """Return the 64-128-64-10 network."""
    return MLP(64, 128, 64, 10)


def lenet_300_100() -> nn.Module:
    """Return the 784-300-100-10 network."""
    return MLP(784, 300, 100, 10)


ARCHITECTURES.add(
    "mlp_digits",
    Architecture(
        key="mlp_digits",
        title="MLP 64-128-64-10",
        description="A small fully connected network for the digits: everything runs in seconds.",
        data="digits",
        input_shape=(1, 8, 8),
        build=mlp_digits,
        training=Tuning(
            epochs=60, optimiser="sgd", learning_rate=0.1, weight_decay=3e-3, batch_size=32
        ),
    ),
)
ARCHITECTURES.add(
    "lenet_300_100",
    Architecture(
        key="lenet_300_100",
        title="LeNet-300-100",
        description=(
            "The fully connected network of LeCun et al. 1998 on which Han et al. 2015 and the "
            "lottery-ticket papers report weight pruning."
        ),
        data="fashion_mnist",
        input_shape=(1, 28, 28),
        build=lenet_300_100,
        training=Tuning(epochs=15, learning_rate=1e-3, batch_size=128),
    ),
)
