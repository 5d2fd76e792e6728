"""Encoded files: as large as predicted, and nothing is lost in them."""

import zipfile
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from pruning_core.encodings import ENCODINGS, decoded, encoded, file_sizes, zipped
from pruning_core.loading.model import LoadedModel, load_model
from pruning_core.planning.recipe import Ratio, Recipe
from pruning_core.planning.resolve import resolve
from pruning_core.scoring.score import score
from pruning_core.surgery.prune import prune
from pruning_core.tracing.network import Network
from pruning_core.tracing.trace import trace

CASES = {"cnn_digits": "2:4", "vit_tiny": "2:4", "gru_128": "weight", "resnet_8": "weight"}


def masked(name: str, granularity: str, ratio: float) -> tuple[Network, Any, dict[str, Any]]:
    model = load_model(f"bundled:{name}")
    network = trace(model.module, model.inputs)
    recipe = Recipe(model=model.identity, granularity=granularity, target=Ratio(value=ratio))
    plan = resolve(recipe, network, score(model, network, recipe))
    state = prune(model, network, plan).module.state_dict()
    return network, plan, {name: value.contiguous() for name, value in state.items()}


@pytest.mark.parametrize(("name", "granularity"), CASES.items())
def test_a_file_is_as_large_as_predicted_and_reads_back_to_the_bit(
    name: str, granularity: str
) -> None:
    network, plan, state = masked(name, granularity, 0.5)
    sizes = file_sizes(network, plan)
    assert sizes["dense"] == len(save(state))
    assert sizes["zip"] == len(zipped(state))
    assert (sizes["2:4"] is not None) == (granularity == "2:4")
    for key in ENCODINGS:
        if sizes[key] is None:
            continue
        tensors = encoded(network, state, key)
        assert len(save(tensors)) == sizes[key]
        back = decoded(network, tensors, key)
        assert list(back) == list(state)
        assert all(torch.equal(back[each], state[each]) for each in state)


def test_a_weight_of_256_by_2304_with_half_of_it_zero_takes_what_hand_arithmetic_says() -> None:
    model = nn.Sequential(nn.Conv2d(256, 256, 3, bias=False), nn.Flatten())
    network = trace(model.eval(), torch.randn(1, 256, 3, 3))
    recipe = Recipe(model="m", target=Ratio(value=0.5))
    loaded = LoadedModel("m", model, network.inputs, None, None, "")
    plan = resolve(recipe, network, score(loaded, network, recipe))
    header, n = 8 + 512, 256 * 2304
    expected = {"bitmask": n / 8 + n / 2 * 4, "csr": n / 2 * 8 + 257 * 4, "dense": n * 4}
    sizes = file_sizes(network, plan)
    for key, payload in expected.items():
        assert payload < (sizes[key] or 0) < payload + header
    assert sizes["2:4"] is None


def test_an_archive_holds_the_dense_file() -> None:
    state = {"w": torch.zeros(64, 64)}
    with zipfile.ZipFile(BytesIO(zipped(state))) as archive:
        assert archive.read("model.safetensors") == save(state)
    assert len(zipped(state)) < 1_000


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 4)),
    st.floats(0, 1),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    st.integers(0, 2**32 - 1),
)
def test_any_box_comes_back(box: tuple[int, int, int], ratio: float, dtype: Any, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(box, generator=generator).to(dtype)
    values[torch.rand(box, generator=generator) < ratio] = 0
    for encoding in ENCODINGS.values():
        live = values != 0
        if encoding.fits(live):
            parts = encoding.encode(values)
            assert torch.equal(encoding.decode(parts, box), values)
            shapes = encoding.shapes(box, int(live.sum()), dtype)
            assert {name: (tuple(p.shape), p.dtype) for name, p in parts.items()} == shapes


def test_plans_without_masks_have_no_encodings() -> None:
    network, plan, _ = masked("cnn_digits", "unit", 0.5)
    assert file_sizes(network, plan) == {}
    assert np.all([keep.any() for keep in plan.keep.values()])
