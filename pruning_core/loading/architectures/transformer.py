"""Vision transformers."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.loading.architecture import Architecture
from pruning_core.loading.architectures import ARCHITECTURES
from pruning_core.planning.recipe import Tuning


class Attention(nn.Module):
    """Self-attention; the size of a head is fixed, the number of heads follows from the weights."""

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.head_dim = dim // n_heads
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return ``[B, tokens, dim]`` for ``[B, tokens, dim]``."""
        n_samples, n_tokens, _ = tokens.shape
        qkv = self.qkv(tokens).reshape(n_samples, n_tokens, 3, -1, self.head_dim)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # [B, heads, tokens, head_dim]
        mixed = functional.scaled_dot_product_attention(query, key, value, scale=self.scale)
        projected: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return projected


class EncoderBlock(nn.Module):
    """Attention and a two-layer perceptron, each behind a LayerNorm and added to its input."""

    def __init__(self, dim: int, n_heads: int, n_hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = Attention(dim, n_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, n_hidden)
        self.fc2 = nn.Linear(n_hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return ``[B, tokens, dim]`` for ``[B, tokens, dim]``."""
        tokens = tokens + self.attention(self.norm1(tokens))
        hidden = functional.gelu(self.fc1(self.norm2(tokens)))
        added: Tensor = tokens + self.fc2(hidden)
        return added


class ViTTiny(nn.Module):
    """A vision transformer on 16 patches of 7 x 7 pixels that classifies its class token."""

    def __init__(
        self, dim: int = 64, n_blocks: int = 4, n_heads: int = 4, n_hidden: int = 128
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, dim, 7, stride=7)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.randn(1, 17, dim) * 0.02)
        self.blocks = nn.Sequential(
            *(EncoderBlock(dim, n_heads, n_hidden) for _ in range(n_blocks))
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``[B, 10]`` of images ``[B, 1, 28, 28]``."""
        patches = self.patches(images).flatten(2).transpose(1, 2)  # [B, 16, dim]
        class_tokens = self.cls_token.expand(images.shape[0], -1, -1)
        tokens = torch.cat([class_tokens, patches], dim=1) + self.pos_embed
        tokens = self.norm(self.blocks(tokens))
        logits: Tensor = self.head(tokens[:, 0])
        return logits


ARCHITECTURES.add(
    "vit_tiny",
    Architecture(
        key="vit_tiny",
        title="ViT-tiny, patch 7",
        description=(
            "A vision transformer with four blocks of four attention heads; heads and the neurons "
            "of its perceptrons can leave."
        ),
        data="fashion_mnist",
        input_shape=(1, 28, 28),
        build=ViTTiny,
        training=Tuning(
            epochs=12,
            optimiser="adamw",
            learning_rate=1.5e-3,
            warmup_steps=200,
            weight_decay=0.05,
            batch_size=128,
        ),
    ),
)
