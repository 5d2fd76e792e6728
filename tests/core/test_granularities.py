"""Masking granularities: what a unit is, element by element, against torch and brute force."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.ao.pruning import WeightNormSparsifier
from torch.nn.utils import prune as torch_prune

from pruning_core import preview, prune, resolve, score, trace
from pruning_core.granularities import GRANULARITIES
from pruning_core.granularities.matrix import matrix
from pruning_core.loading.model import LoadedModel
from pruning_core.planning.plan import Plan
from pruning_core.planning.recipe import Count, Ratio, Recipe, Threshold
from pruning_core.tracing.network import Network
from tests.core.oracles import counted_nonzero

MASKS = [key for key, entry in GRANULARITIES.items() if entry.mask is not None]
PATTERNS = [key for key, entry in GRANULARITIES.items() if entry.pattern is not None]


class Odd(nn.Module):
    """Sizes that no tile divides, grouped, depthwise and transposed convolutions, ``x @ W``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 10, 3)
        self.grouped = nn.Conv2d(10, 14, 3, groups=2)
        self.depthwise = nn.Conv2d(14, 14, 3, groups=14)
        self.up = nn.ConvTranspose2d(14, 9, 2)
        self.turned = nn.Parameter(torch.randn(9, 21))
        self.fc = nn.Linear(21, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(self.grouped(self.conv(x).relu()).relu()).relu()
        return self.fc((self.up(x).relu().mean((2, 3)) @ self.turned).relu())


def loaded(module: nn.Module, *shape: int) -> tuple[LoadedModel, Network]:
    network = trace(module.eval(), torch.zeros(1, *shape))
    return LoadedModel("test:odd", network.module, network.inputs, None, None, ""), network


@pytest.fixture(scope="module")
def odd() -> tuple[LoadedModel, Network]:
    torch.manual_seed(0)
    return loaded(Odd(), 3, 12, 12)


def planned(given: tuple[LoadedModel, Network], granularity: str, **changes: object) -> Plan:
    model, network = given
    recipe = Recipe(model=model.identity, granularity=granularity, **changes)  # type: ignore[arg-type]
    return resolve(recipe, network, score(model, network, recipe))


def boxes(network: Network) -> dict[str, np.ndarray]:
    """Every weight of :class:`Odd` as ``[out, in, kernel]``, its axes named by hand."""
    weights = {name: network.tensor(name).detach().numpy() for name in network.weights}
    weights["up.weight"] = weights["up.weight"].swapaxes(0, 1)
    weights["turned"] = weights["turned"].T
    return {name: w.reshape(*w.shape[:2], -1) for name, w in weights.items()}


def test_weights_are_seen_as_outputs_by_inputs_by_kernel(odd: tuple[LoadedModel, Network]) -> None:
    _, network = odd
    for name, expected in boxes(network).items():
        found = matrix(network, name)
        stored = network.tensor(name).detach().numpy()
        assert (found.boxed(stored) == expected).all()
        assert (found.unboxed(expected) == stored).all()


def tile_of(granularity: str, name: str, box: tuple[int, ...], place: tuple[int, ...]) -> object:
    """The unit that an element belongs to, said in the plainest way."""
    out, column, position = place
    match granularity:
        case "row":
            return out
        case "column":
            return column
        case "kernel":
            return out, column
        case _:
            rows, columns = (int(n) for n in granularity.removeprefix("block_").split("x"))
            return out // rows, (column * box[2] + position) // columns


@pytest.mark.parametrize("granularity", [key for key in MASKS if key not in (*PATTERNS, "weight")])
def test_units_are_the_tiles_that_plain_loops_find(
    granularity: str, odd: tuple[LoadedModel, Network]
) -> None:
    model, network = odd
    entry = GRANULARITIES[granularity]
    recipe = Recipe(model=model.identity, granularity=granularity)
    scores = score(model, network, recipe).by_site
    sites = {site.parameter: site for site in entry.sites(network)}
    convolutions = {"conv.weight", "grouped.weight", "depthwise.weight", "up.weight"}
    for name, values in boxes(network).items():
        sums: dict[object, float] = {}
        for place in itertools.product(*map(range, values.shape)):
            tile = tile_of(granularity, name, values.shape, place)
            sums[tile] = sums.get(tile, 0.0) + abs(float(values[place]))
        if len(sums) == 1 or (granularity == "kernel" and name not in convolutions):
            assert name not in sites
            continue
        expected = [sums[tile] for tile in sorted(sums)]  # type: ignore[type-var]
        assert scores[sites[name].name] == pytest.approx(expected, rel=1e-5)
        keep = np.random.default_rng(1).random(len(sums)) < 0.5
        stays = dict(zip(sorted(sums), keep, strict=True))  # type: ignore[type-var]
        assert entry.mask is not None
        mask = matrix(network, name).boxed(entry.mask(network, sites[name], keep))
        for place in itertools.product(*map(range, values.shape)):
            assert mask[place] == stays[tile_of(granularity, name, values.shape, place)]


@pytest.mark.parametrize("granularity", PATTERNS)
def test_a_pattern_keeps_the_n_largest_of_every_m_inputs(
    granularity: str, odd: tuple[LoadedModel, Network]
) -> None:
    model, network = odd
    n, m = (int(part) for part in granularity.split(":"))
    plan = planned(odd, granularity, target=Ratio(value=(m - n) / m))
    masks = prune(model, network, plan).masks
    for name, values in boxes(network).items():
        whole = values.shape[1] // m * m
        if not whole:
            assert name not in masks
            continue
        stays = matrix(network, name).boxed(masks[name].numpy())
        assert stays[:, whole:].all()
        for out, position in itertools.product(range(values.shape[0]), range(values.shape[2])):
            for start in range(0, whole, m):
                group = np.abs(values[out, start : start + m, position])
                kept = np.sort(group[stays[out, start : start + m, position]])
                assert (kept == np.sort(group)[m - n :]).all()
    assert not any("pattern" in text for texts in plan.notes.values() for text in texts)


def test_two_of_four_is_the_mask_of_torchs_sparsifier() -> None:
    torch.manual_seed(1)
    given = loaded(nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 8)), 16)
    plan = planned(given, "2:4", target=Ratio(value=0.5))
    masks = prune(*given, plan).masks
    oracle = WeightNormSparsifier(sparsity_level=1.0, sparse_block_shape=(1, 4), zeros_per_block=2)
    other = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 8))
    other.load_state_dict(given[1].module.state_dict())
    oracle.prepare(other, [{"tensor_fqn": "0.weight"}, {"tensor_fqn": "2.weight"}])
    oracle.step()
    for layer in ("0", "2"):
        expected = other.get_submodule(layer).parametrizations["weight"][0].mask
        assert torch.equal(masks[f"{layer}.weight"], expected.bool())


@pytest.mark.parametrize(("granularity", "axis"), [("row", 0), ("column", 1)])
def test_rows_and_columns_are_those_of_torchs_structured_pruning(
    granularity: str, axis: int
) -> None:
    torch.manual_seed(2)
    given = loaded(nn.Sequential(nn.Conv2d(6, 9, 3), nn.ReLU(), nn.Conv2d(9, 7, 3)), 6, 9, 9)
    plan = planned(given, granularity, layers={"2": Count(value=4)})
    oracle = nn.Conv2d(9, 7, 3)
    oracle.load_state_dict(given[1].module.get_submodule("2").state_dict())
    torch_prune.ln_structured(oracle, "weight", amount=4, n=1, dim=axis)
    assert torch.equal(prune(*given, plan).masks["2.weight"], oracle.weight_mask.bool())


@pytest.mark.parametrize("granularity", PATTERNS)
def test_a_wish_between_nothing_and_the_pattern_takes_the_nearer_and_says_so(
    granularity: str, odd: tuple[LoadedModel, Network]
) -> None:
    n, m = (int(part) for part in granularity.split(":"))
    full = (m - n) / m
    for share, expected in ((0.4, 0.0), (0.6, full), (1.2, full)):
        target = Ratio(value=min(0.99, share * full))
        plan = planned(odd, granularity, scope="local", target=target)
        assert plan.keep
        for site in plan.keep:
            assert plan.ratio(site) == expected
            assert f"pattern {n}:{m} everywhere or nowhere" in plan.notes[site][0]


def test_a_threshold_is_a_wish_too(odd: tuple[LoadedModel, Network]) -> None:
    assert planned(odd, "2:4", layers={"fc": Threshold(value=1e9)}).ratio("fc") == 0.5
    assert planned(odd, "2:4", layers={"fc": Threshold(value=0.0)}).ratio("fc") == 0.0


@pytest.mark.parametrize("granularity", MASKS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_the_preview_counts_the_non_zeros_of_the_pruned_network(
    granularity: str, odd: tuple[LoadedModel, Network], data: st.DataObject
) -> None:
    model, network = odd
    sites = [site.name for site in GRANULARITIES[granularity].sites(network)]
    wish = st.one_of(
        st.builds(lambda value: Ratio(value=value), st.floats(0, 0.99)),
        st.builds(lambda value: Count(value=value), st.integers(0, 300)),
    )
    plan = planned(
        odd,
        granularity,
        criterion="random",
        seed=data.draw(st.integers(0, 9)),
        scope=data.draw(st.sampled_from(["local", "global"])),
        target=data.draw(wish),
        layers=data.draw(st.dictionaries(st.sampled_from(sites), wish, max_size=3)),
    )
    pruned = prune(model, network, plan)
    assert counted_nonzero(pruned.module) == preview(network, plan).after.nonzero
    for name in network.weights:
        assert pruned.module.get_parameter(name).count_nonzero() > 0
