"""Smaller configurations of language and vision models whose default one has billions of weights.

Ratios that make an architecture what it is (query heads for each key head, dense and sparse layers
in turn) stay; widths, depths and vocabularies are cut.
"""

import inspect
from collections.abc import Sequence
from typing import Any, Final

_WIDTH, _HEADS, _HEAD_SIZE, _INNER, _LAYERS = 256, 8, 32, 512, 4
_VOCABULARY, _EXPERTS, _RANK = 2000, 4, 64

_MOST: Final[dict[str, int]] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embed_dim", "n_embed"), _WIDTH),
    **dict.fromkeys(("decoder_hidden_size", "projection_dim", "word_embed_proj_dim"), _WIDTH),
    **dict.fromkeys(("hidden_dim", "model_dim", "encoder_hidden_size", "text_embed_dim"), _WIDTH),
    **dict.fromkeys(("num_attention_heads", "n_head", "num_heads", "n_heads"), _HEADS),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), _HEADS),
    **dict.fromkeys(("head_dim", "d_kv", "kv_channels", "v_head_dim", "qk_head_dim"), _HEAD_SIZE),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "d_ff", "n_inner", "ffn_hidden_size"), _INNER),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "moe_intermediate_size"), _INNER),
    **dict.fromkeys(("shared_expert_intermediate_size", "mlp_dim", "ffn_size"), _INNER),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), _LAYERS),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_decoder_layers", "depth"), _LAYERS),
    **dict.fromkeys(("vocab_size", "type_vocab_size"), _VOCABULARY),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts"), _EXPERTS),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk"), 2),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank"), _RANK),
    "rotary_dim": _HEAD_SIZE // 2,
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads"), _HEADS),
    **dict.fromkeys(("n_group", "topk_group", "first_k_dense_replace"), 1),
}
_KEY_HEADS = ("num_key_value_heads", "n_head_kv", "num_kv_heads", "multi_query_group_num")
_STATE_HEADS = (
    ("num_heads", "head_dim", "expand"),
    ("mamba_n_heads", "mamba_d_head", "mamba_expand"),
)
_LAYER_NAMES = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers")


def small_config(config: Any) -> dict[str, Any]:
    """Return what to construct a configuration of the same type with, so that it is small."""
    changes: dict[str, Any] = {
        name: min(value, _MOST[name])
        for name, value in _settable(config).items()
        if name in _MOST and isinstance(value, int) and not isinstance(value, bool)
    }
    changes |= _key_heads(config)
    changes |= _state_heads(config, changes)
    changes |= _lists(config, changes)
    vocabulary = changes.get("vocab_size", getattr(config, "vocab_size", None))
    for name, value in _settable(config).items():
        if name.endswith("_token_id") and isinstance(value, int) and vocabulary:
            changes[name] = min(value, vocabulary - 1)
        if hasattr(value, "to_dict") and hasattr(value, "model_type"):
            changes[name] = small_config(value)
    return changes


def _settable(config: Any) -> dict[str, Any]:
    names = inspect.signature(type(config).__init__).parameters
    return {name: getattr(config, name) for name in names if hasattr(config, name)}


def _key_heads(config: Any) -> dict[str, Any]:
    """Keep the number of query heads that share a key head."""
    heads = getattr(config, "num_attention_heads", None)
    found = {}
    for name, value in _settable(config).items():
        if name in _KEY_HEADS and isinstance(value, int) and isinstance(heads, int):
            found[name] = max(1, min(heads, _HEADS) * value // heads)
    return found


def _state_heads(config: Any, changes: dict[str, Any]) -> dict[str, Any]:
    """Let heads fill the expanded width of a state-space layer where they did so before."""
    found = {}
    for heads, size, factor in _STATE_HEADS:
        old: list[Any] = [getattr(config, x, None) for x in (heads, size, "hidden_size", factor)]
        if all(isinstance(value, int) for value in old) and old[0] * old[1] == old[2] * old[3]:
            new = [changes.get(name, getattr(config, name)) for name in (size, "hidden_size")]
            found[heads] = new[1] * old[3] // new[0]
    return found


def _lists(config: Any, changes: dict[str, Any]) -> dict[str, Any]:
    """Cut lists that have an entry for each layer, or pairs of entries and how often they come."""
    depths = {name: getattr(config, name) for name in _LAYER_NAMES if name in changes}
    depth = next((value for value in depths.values() if isinstance(value, int)), 0)
    found: dict[str, Any] = {}
    for name, value in _settable(config).items():
        if not depth or not isinstance(value, list | tuple):
            continue
        repeated = _repeated(value)
        if len(value) == depth:
            found[name] = list(value[:_LAYERS])
        elif len(repeated) == depth:
            found[name] = [[repeated[:_LAYERS], 1]]
    return found


def _repeated(pairs: Sequence[Any]) -> list[Any]:
    """Return ``[[a, b], 2]`` as ``a, b, a, b``; nothing where entries are no such pairs."""
    try:
        return [entry for entries, times in pairs for entry in list(entries) * times]
    except (TypeError, ValueError):
        return []
