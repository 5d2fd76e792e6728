"""Configurations stay consistent when they are made small: stand-ins for those of transformers."""

from typing import Any

import pytest

from pruning_core.loading.small_config import small_config


class Repeated:
    """As GPT-Neo: kinds of layers in turns, and how often they come."""

    def __init__(self, num_layers: int = 24, attention_types: Any = None, hidden_size: int = 2048):
        self.num_layers, self.hidden_size = num_layers, hidden_size
        self.attention_types = attention_types or [[["global", "local"], 12]]
        kinds = [kind for kinds, times in self.attention_types for kind in list(kinds) * times]
        assert len(kinds) == num_layers


class Listed:
    """As Llama 4 and Qwen 3: a kind for each layer; fewer key heads than query heads."""

    def __init__(
        self,
        num_hidden_layers: int = 8,
        layer_types: Any = None,
        num_attention_heads: int = 32,
        num_key_value_heads: int = 8,
        vocab_size: int = 50_000,
        eos_token_id: int = 49_999,
    ):
        self.num_hidden_layers, self.vocab_size = num_hidden_layers, vocab_size
        self.layer_types = layer_types or ["full", "sliding"] * 4
        self.num_attention_heads, self.num_key_value_heads = (
            num_attention_heads,
            num_key_value_heads,
        )
        self.eos_token_id = eos_token_id
        assert len(self.layer_types) == num_hidden_layers
        assert eos_token_id < vocab_size


class StateSpace:
    """As Mamba 2: the heads fill the expanded width."""

    def __init__(
        self,
        num_heads: int = 128,
        head_dim: int = 64,
        hidden_size: int = 4096,
        expand: int = 2,
        time_step_limit: tuple[float, ...] = (0.0, 1.0),
    ):
        self.num_heads, self.head_dim, self.hidden_size = num_heads, head_dim, hidden_size
        self.expand, self.time_step_limit = expand, time_step_limit
        assert num_heads * head_dim == hidden_size * expand


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            Repeated,
            {
                "num_layers": 4,
                "hidden_size": 256,
                "attention_types": [[["global", "local", "global", "local"], 1]],
            },
        ),
        (
            Listed,
            {
                "num_hidden_layers": 4,
                "layer_types": ["full", "sliding", "full", "sliding"],
                "num_attention_heads": 8,
                "num_key_value_heads": 2,
                "vocab_size": 2000,
                "eos_token_id": 1999,
            },
        ),
        (StateSpace, {"num_heads": 16, "head_dim": 32, "hidden_size": 256}),
    ],
)
def test_a_small_configuration_is_one_of_its_type(kind: Any, expected: dict[str, Any]) -> None:
    changes = small_config(kind())
    assert changes == expected
    kind(**changes)
