"""Savings in parts add up exactly, and are those of really pruned networks."""

import random

import numpy as np
import pytest

from pruning_core import Recipe, load_model, preview, prune, resolve, score, trace
from pruning_core.granularities import GRANULARITIES
from pruning_core.loading.model import bundled_models
from pruning_core.planning.recipe import Count, Part, Ratio
from pruning_core.savings import by_layer, in_turn

QUANTITIES = ("params", "nonzero", "macs", "n_bytes")
MODELS = [card.identity for card in bundled_models()]
_KNOWN = {}


def traced(identity):
    if identity not in _KNOWN:
        model = load_model(identity)
        _KNOWN[identity] = model, trace(model.module, model.inputs)
    return _KNOWN[identity]


def resolved(recipe):
    model, network = traced(recipe.model)
    plan = resolve(recipe, network, score(model, network, recipe))
    return model, network, plan, preview(network, plan)


def adds_up(savings, counted):
    for quantity in QUANTITIES:
        parts = sum(getattr(part, quantity) for part in (*savings.saved, savings.rest))
        assert parts == getattr(counted.before, quantity) - getattr(counted.after, quantity)


@pytest.mark.parametrize("identity", MODELS)
def test_parts_add_up_to_the_totals_for_every_granularity(identity):
    _, network = traced(identity)
    draw = random.Random(identity)
    for key, granularity in GRANULARITIES.items():
        if not granularity.sites(network):
            continue
        ratio = Ratio(value=draw.uniform(0.1, 0.8))
        _, _, plan, counted = resolved(Recipe(model=identity, granularity=key, target=ratio))
        layers = by_layer(counted)
        adds_up(layers, counted)
        assert layers.names == tuple(layer.name for layer in network.layers)
        assert (layers.rest.params, layers.rest.nonzero, layers.rest.macs) == (0, 0, 0)
        turns = in_turn(network, plan, counted)
        if granularity.removes:
            adds_up(turns, counted)
            assert (turns.rest.params, turns.rest.n_bytes) == (0, 0)
        else:
            assert turns is None


def test_a_mixed_plan_adds_up_too():
    also = (Part(granularity="weight", target=Ratio(value=0.5)),)
    recipe = Recipe(
        model="bundled:resnet_8", granularity="unit", target=Ratio(value=0.3), also=also
    )
    _, network, plan, counted = resolved(recipe)
    turns = in_turn(network, plan, counted)
    adds_up(turns, counted)
    assert turns.rest.params == 0
    assert turns.rest.nonzero > 0


def test_groups_in_turn_save_what_networks_pruned_one_group_further_have_less():
    recipe = Recipe(model="bundled:lenet_5", granularity="unit", scope="local")
    model, network, _, _ = resolved(recipe)
    counts = {group.name: Count(value=group.n_units // 3) for group in network.groups}
    sizes = [sum(p.numel() for p in model.module.parameters())]
    for last in range(len(counts)):
        layers = dict(list(counts.items())[: last + 1])
        _, _, plan, counted = resolved(recipe.replace(layers=layers))
        sizes.append(sum(p.numel() for p in prune(model, network, plan).module.parameters()))
    turns = in_turn(network, plan, counted)
    assert turns.names == tuple(counts)
    assert [part.params for part in turns.saved] == (-np.diff(sizes)).tolist()


def test_branches_in_turn_save_what_is_in_them():
    recipe = Recipe(
        model="bundled:vit_tiny",
        granularity="depth",
        layers={"branches": Count(value=1)},
    )
    _, network, plan, counted = resolved(recipe)
    (gone,) = plan.cut(network)
    turns = in_turn(network, plan, counted)
    assert turns.names == (gone.name,)
    owned = {name for name in gone.tensors if name in network.cost.parameters}
    assert turns.saved[0].params == sum(network.tensor(name).numel() for name in owned)


def test_nothing_pruned_saves_nothing():
    _, network, plan, counted = resolved(Recipe(model="bundled:lenet_5", granularity="unit"))
    for savings in (by_layer(counted), in_turn(network, plan, counted)):
        assert all(getattr(savings.rest, quantity) == 0 for quantity in QUANTITIES)
        assert all(part.params == 0 for part in savings.saved)
