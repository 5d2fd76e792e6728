"""Plain convolutional networks."""

from torch import Tensor, nn
from torch.nn import functional

from pruning_core.loading.architecture import Architecture
from pruning_core.loading.architectures import ARCHITECTURES
from pruning_core.planning.recipe import Tuning


class LeNet5(nn.Module):
    """LeNet-5 as Caffe defines it: 20 and 50 channels of 5 x 5, then 500 neurons."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(50 * 4 * 4, 500)
        self.fc2 = nn.Linear(500, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``[B, 10]`` of images ``[B, 1, 28, 28]``."""
        features = functional.max_pool2d(functional.relu(self.conv1(images)), 2)
        features = functional.max_pool2d(functional.relu(self.conv2(features)), 2)
        hidden = functional.relu(self.fc1(features.flatten(1)))
        logits: Tensor = self.fc2(hidden)
        return logits


class DigitsCNN(nn.Module):
    """Two 3 x 3 convolutions with batch norm, one pooling, 64 neurons."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(32)
        self.fc1 = nn.Linear(32 * 4 * 4, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``[B, 10]`` of images ``[B, 1, 8, 8]``."""
        features = functional.relu(self.bn1(self.conv1(images)))
        features = functional.relu(self.bn2(self.conv2(features)))
        features = functional.max_pool2d(features, 2)
        hidden = functional.relu(self.fc1(features.flatten(1)))
        logits: Tensor = self.fc2(hidden)
        return logits


ARCHITECTURES.add(
    "cnn_digits",
    Architecture(
        key="cnn_digits",
        title="CNN 16-32 with batch norm",
        description="A small convolutional network with batch norm for the digits.",
        data="digits",
        input_shape=(1, 8, 8),
        build=DigitsCNN,
        training=Tuning(
            epochs=20, optimiser="adamw", learning_rate=5e-3, weight_decay=0.5, batch_size=16
        ),
    ),
)
ARCHITECTURES.add(
    "lenet_5",
    Architecture(
        key="lenet_5",
        title="LeNet-5 (Caffe)",
        description=(
            "The convolutional network of Han et al. 2015: 20 and 50 channels, whose flattened "
            "maps feed 500 neurons."
        ),
        data="fashion_mnist",
        input_shape=(1, 28, 28),
        build=LeNet5,
        training=Tuning(epochs=10, learning_rate=1e-3, batch_size=128),
    ),
)
