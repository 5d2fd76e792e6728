"""Residual networks."""

from torch import Tensor, nn
from torch.nn import functional

from pruning_core.loading.architecture import Architecture
from pruning_core.loading.architectures import ARCHITECTURES
from pruning_core.planning.recipe import Tuning


class Block(nn.Module):
    """Two 3 x 3 convolutions with batch norm, added to the input or to its 1 x 1 projection."""

    def __init__(self, n_inputs: int, n_outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_inputs, n_outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_outputs)
        self.conv2 = nn.Conv2d(n_outputs, n_outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_inputs != n_outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(n_inputs, n_outputs, 1, stride=stride, bias=False),
                nn.BatchNorm2d(n_outputs),
            )

    def forward(self, features: Tensor) -> Tensor:
        """Return ``[B, outputs, H / stride, W / stride]`` for ``[B, inputs, H, W]``."""
        changed = functional.relu(self.bn1(self.conv1(features)))
        changed = self.bn2(self.conv2(changed))
        return functional.relu(changed + self.shortcut(features))


class ResNet8(nn.Module):
    """One block each of 16, 32 and 64 channels, then global average pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.blocks = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``[B, 10]`` of images ``[B, 1, 28, 28]``."""
        features = self.blocks(functional.relu(self.bn1(self.conv1(images))))
        logits: Tensor = self.fc(self.pool(features).flatten(1))
        return logits


ARCHITECTURES.add(
    "resnet_8",
    Architecture(
        key="resnet_8",
        title="ResNet-8",
        description=(
            "A small residual network: channels on both sides of an addition are coupled and "
            "leave together."
        ),
        data="fashion_mnist",
        input_shape=(1, 28, 28),
        build=ResNet8,
        training=Tuning(
            epochs=12,
            optimiser="sgd",
            learning_rate=0.05,
            momentum=0.9,
            weight_decay=5e-4,
            batch_size=128,
            horizontal_flip=True,
        ),
    ),
)
