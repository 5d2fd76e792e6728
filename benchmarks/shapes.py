"""Five well-known architectures with exactly their published numbers of parameters.

Written out because torchvision and transformers are no dependencies; weights are random. They are
for measuring speed and exactness, not accuracy.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Shape(NamedTuple):
    """An architecture to measure.

    Attributes:
        title: Its usual name.
        build: Makes it with random weights.
        inputs: Makes an example input of one sample.
        n_params: Parameters as published.
    """

    title: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], Tensor]
    n_params: int


def _image() -> Tensor:
    return torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def _tokens() -> Tensor:
    return torch.arange(128)[None]


def _conv_bn(n_in: int, n_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(n_out),
    )


class Bottleneck(nn.Module):
    """Residual block of He et al. 2015, arXiv:1512.03385, with the stride in the 3x3 layer."""

    def __init__(self, n_in: int, width: int, stride: int) -> None:
        super().__init__()
        n_out = 4 * width
        self.reduce = _conv_bn(n_in, width, 1)
        self.middle = _conv_bn(width, width, 3, stride)
        self.expand = _conv_bn(width, n_out, 1)
        changes = stride != 1 or n_in != n_out
        self.shortcut = _conv_bn(n_in, n_out, 1, stride) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``[N, n_in, H, W] -> [N, 4 * width, H / stride, W / stride]``."""
        found = torch.relu(self.middle(torch.relu(self.reduce(x))))
        return torch.relu(self.expand(found) + self.shortcut(x))


def resnet_50() -> nn.Module:
    """ResNet-50 (He et al. 2015, arXiv:1512.03385)."""
    blocks: list[nn.Module] = []
    n_in = 64
    for width, n_blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for number in range(n_blocks):
            blocks.append(Bottleneck(n_in, width, stride if number == 0 else 1))
            n_in = 4 * width
    stem = (_conv_bn(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_in, 1000))
    return nn.Sequential(*stem, *blocks, *head)


class BasicBlock(nn.Module):
    """Residual block of two 3x3 layers (He et al. 2015, arXiv:1512.03385)."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.first = _conv_bn(n_in, n_out, 3, stride)
        self.second = _conv_bn(n_out, n_out, 3)
        changes = stride != 1 or n_in != n_out
        self.shortcut = _conv_bn(n_in, n_out, 1, stride) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``[N, n_in, H, W] -> [N, n_out, H / stride, W / stride]``."""
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


def resnet_18() -> nn.Module:
    """ResNet-18 (He et al. 2015, arXiv:1512.03385); 11,689,512 parameters."""
    blocks: list[nn.Module] = []
    n_in = 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        blocks += [BasicBlock(n_in, width, stride), BasicBlock(width, width, 1)]
        n_in = width
    stem = (_conv_bn(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_in, 1000))
    return nn.Sequential(*stem, *blocks, *head)


class InvertedResidual(nn.Module):
    """Block of Sandler et al. 2018, arXiv:1801.04381."""

    def __init__(self, n_in: int, n_out: int, stride: int, factor: int) -> None:
        super().__init__()
        width = n_in * factor
        widen = (_conv_bn(n_in, width, 1), nn.ReLU6()) if factor != 1 else ()
        each = (_conv_bn(width, width, 3, stride, groups=width), nn.ReLU6())
        self.layers = nn.Sequential(*widen, *each, _conv_bn(width, n_out, 1))
        self.adds = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        """``[N, n_in, H, W] -> [N, n_out, H / stride, W / stride]``."""
        found: Tensor = self.layers(x)
        return x + found if self.adds else found


def mobilenet_v2() -> nn.Module:
    """MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381)."""
    layers: list[nn.Module] = [_conv_bn(3, 32, 3, 2), nn.ReLU6()]
    n_in = 32
    stages = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    for factor, n_out, n_blocks, stride in stages:
        for number in range(n_blocks):
            layers.append(InvertedResidual(n_in, n_out, stride if number == 0 else 1, factor))
            n_in = n_out
    head = (_conv_bn(n_in, 1280, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*layers, *head, nn.Dropout(0.2), nn.Linear(1280, 1000))


def vgg_16_bn() -> nn.Module:
    """VGG-16 with batch normalisation (Simonyan and Zisserman 2014, arXiv:1409.1556)."""
    layers: list[nn.Module] = []
    n_in = 3
    for width, n_layers in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(n_layers):
            layers += [nn.Conv2d(n_in, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            n_in = width
        layers.append(nn.MaxPool2d(2))
    head: list[nn.Module] = [nn.Flatten()]
    for n_inputs, n_out in ((512 * 7 * 7, 4096), (4096, 4096)):
        head += [nn.Linear(n_inputs, n_out), nn.ReLU(), nn.Dropout()]
    return nn.Sequential(*layers, *head, nn.Linear(4096, 1000))


class EncoderLayer(nn.Module):
    """Transformer layer that normalises first, with PyTorch's own attention."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(width, eps=1e-6)
        self.attention = nn.MultiheadAttention(width, n_heads, batch_first=True)
        self.before_mlp = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[N, T, width] -> [N, T, width]``."""
        normed = self.before_attention(x)
        x = x + self.attention(normed, normed, normed, need_weights=False)[0]
        found: Tensor = x + self.mlp(self.before_mlp(x))
        return found


class VisionTransformer(nn.Module):
    """ViT-B/16 (Dosovitskiy et al. 2020, arXiv:2010.11929)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 768, 16, 16)
        self.class_token = nn.Parameter(torch.randn(1, 1, 768))
        self.positions = nn.Parameter(torch.randn(1, 197, 768))
        self.layers = nn.Sequential(*(EncoderLayer(768, 12) for _ in range(12)))
        self.norm = nn.LayerNorm(768, eps=1e-6)
        self.head = nn.Linear(768, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, 3, 224, 224] -> [N, 1000]``."""
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), patches], dim=1)
        found: Tensor = self.head(self.norm(self.layers(tokens + self.positions))[:, 0])
        return found


class BertLayer(nn.Module):
    """Transformer layer that normalises afterwards, with separate query, key and value."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.head_size = width // n_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.last_norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, T, width] -> [N, T, width]``."""
        query, key, value = (
            layer(x).unflatten(-1, (-1, self.head_size)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        x = self.norm(x + self.output(mixed.transpose(1, 2).flatten(2)))
        found: Tensor = self.last_norm(x + self.narrow(nn.functional.gelu(self.widen(x))))
        return found


class Bert(nn.Module):
    """BERT-base, uncased, with pooler (Devlin et al. 2018, arXiv:1810.04805)."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(30_522, 768)
        self.positions = nn.Embedding(512, 768)
        self.segments = nn.Embedding(2, 768)
        self.norm = nn.LayerNorm(768, eps=1e-12)
        self.layers = nn.Sequential(*(BertLayer(768, 12) for _ in range(12)))
        self.pooler = nn.Linear(768, 768)

    def forward(self, tokens: Tensor) -> Tensor:
        """``[N, T]`` token numbers ``-> [N, 768]``."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        embedded = self.words(tokens) + self.positions(places)
        x = self.layers(self.norm(embedded + self.segments(torch.zeros_like(tokens))))
        return torch.tanh(self.pooler(x[:, 0]))


class DecoderLayer(nn.Module):
    """Causal transformer layer with RMS norm and a gated MLP, as in Llama (arXiv:2302.13971)."""

    def __init__(self, width: int, head_size: int, hidden: int) -> None:
        super().__init__()
        self.head_size = head_size
        self.before_attention = nn.RMSNorm(width)
        self.query, self.key, self.value, self.output = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )
        self.before_mlp = nn.RMSNorm(width)
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, T, width] -> [N, T, width]``."""
        normed = self.before_attention(x)
        query, key, value = (
            layer(normed).unflatten(-1, (-1, self.head_size)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.output(mixed.transpose(1, 2).flatten(2))
        normed = self.before_mlp(x)
        found: Tensor = x + self.down(nn.functional.silu(self.gate(normed)) * self.up(normed))
        return found


def decoder_of_a_billion() -> nn.Module:
    """Return a decoder of 1.1 billion parameters; build it under ``torch.device("meta")``."""
    layers = (DecoderLayer(2048, 64, 5632) for _ in range(19))
    return nn.Sequential(
        nn.Embedding(32_000, 2048), *layers, nn.RMSNorm(2048), nn.Linear(2048, 32_000, bias=False)
    )


SHAPES: Mapping[str, Shape] = {
    "resnet_50": Shape("ResNet-50", resnet_50, _image, 25_557_032),
    "mobilenet_v2": Shape("MobileNetV2", mobilenet_v2, _image, 3_504_872),
    "vgg_16_bn": Shape("VGG-16-BN", vgg_16_bn, _image, 138_365_992),
    "vit_b_16": Shape("ViT-B/16", VisionTransformer, _image, 86_567_656),
    "bert_base": Shape("BERT-base", Bert, _tokens, 109_482_240),
}


def built(name: str) -> nn.Module:
    """Return architecture ``name`` with seeded random weights, in eval mode."""
    torch.manual_seed(0)
    shape = SHAPES[name]
    module = shape.build().eval()
    found = sum(parameter.numel() for parameter in module.parameters())
    if found != shape.n_params:
        raise RuntimeError(f"{shape.title} has {found:,} parameters, not {shape.n_params:,}")
    return module
