"""The one door from the pages to the core: bounded caches, keyed by names and settings.

Weights are never hashed and never copied: cached models and networks are shared by all sessions
and read-only. PyTorch is imported by the first call that needs it, not by the pages.
"""

import gc
import importlib
import sys
from collections.abc import Callable, Hashable
from inspect import signature
from threading import Condition
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

import numpy as np
import streamlit as st
from cachetools import LRUCache, cached
from cachetools.keys import hashkey

from pruning_core.errors import PruningError
from pruning_core.planning.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pruning_core.figures.histogram import Bins, Cumulative
    from pruning_core.figures.portrait import Look, Portrait
    from pruning_core.figures.ribbons import Ribbon
    from pruning_core.granularities import Site
    from pruning_core.loading.card import ModelCard
    from pruning_core.loading.model import LoadedModel
    from pruning_core.loading.split import Dataset
    from pruning_core.planning.explain import Explanation
    from pruning_core.planning.listing import UnitOrder
    from pruning_core.planning.plan import Plan
    from pruning_core.preview import Preview, Track
    from pruning_core.savings import Savings
    from pruning_core.scoring.agreement import Disagreement, Ranked
    from pruning_core.scoring.score import Scores
    from pruning_core.tasks import Metric
    from pruning_core.tasks.registry import Task
    from pruning_core.tracing.coupling import Path
    from pruning_core.tracing.network import Network

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _kept(entries: int) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Keep the last results of a function for all sessions; equal calls at once wait for one.

    Arguments that are called ``_like_this`` come last and do not count: the others decide. For what
    shows that it works ``st.cache_resource`` is there; asking it takes a hundred times longer.
    """

    def wrap(function: Callable[_P, _R]) -> Callable[_P, _R]:
        n_counting = sum(not name.startswith("_") for name in signature(function).parameters)

        def key(*values: Hashable, **named: Hashable) -> Hashable:
            return hashkey(*values[:n_counting], **named)

        return cached(LRUCache(entries), key=key, condition=Condition())(function)

    return wrap


@st.cache_resource(show_spinner=False)
def engine(_identity: str) -> bool:
    """Import everything the pages call, trace a first model, and take all that from the collector.

    Streamlit collects garbage after every run of a script; with PyTorch imported each collection
    would walk some 250,000 objects which never die.
    """
    import pruning_core.exporting.exporter
    import pruning_core.planning.resolve
    import pruning_core.preview
    import pruning_core.scoring.score  # noqa: F401

    network(_identity)
    gc.collect()
    gc.freeze()
    return True


def is_ready() -> bool:
    """Tell whether PyTorch is there, so that no page has to wait for it."""
    return "pruning_core.scoring.score" in sys.modules


def reads_data(recipe: Recipe) -> bool:
    """Tell whether the criterion of the recipe reads data, so that rating may take a while."""
    criteria = registry("criteria")
    used = {part.criterion for part in (recipe, *recipe.also)}
    return any(key in criteria and criteria[key].needs_data for key in used)


@st.cache_resource(show_spinner=False)
def cards() -> "tuple[ModelCard, ...]":
    """Return the cards of the bundled models, the smallest first; needs no PyTorch."""
    from pruning_core.loading.card import read_cards

    return read_cards()


def card(identity: str) -> "ModelCard | None":
    """Return the card of a model; None unless it is bundled."""
    return next((found for found in cards() if found.identity == identity), None)


@_kept(16)
def first_weights(identity: str) -> "tuple[str, NDArray[np.float32]]":
    """Return name and magnitudes ``[out, in]`` of the first layer's weights.

    Bundled models need no PyTorch for that: their card names the layer.
    """
    from pruning_core.loading.glance import first_weights as glance

    found = card(identity)
    if found is not None and found.first_layer:
        return found.first_layer, glance(found)
    from pruning_core.figures.matrix import layer_matrix

    traced = network(identity)
    return traced.weights[0], layer_matrix(traced, traced.weights[0], single_weights=True).values


@_kept(16)
def model(identity: str) -> "LoadedModel":
    """Return a model; code is run only for the models of whoever started the server."""
    from pages.common.starter import offer
    from pruning_core.loading.model import load_model
    from pruning_core.loading.permitted import is_permitted

    shape = offer().recipe(identity).input_shape
    return load_model(identity, input_shape=shape, allow_python=is_permitted(identity))


@_kept(16)
def network(identity: str) -> "Network":
    """Return what tracing the model found out."""
    from pruning_core.tracing.trace import trace

    loaded = model(identity)
    return trace(loaded.module, loaded.inputs)


def scores(recipe: Recipe) -> "Scores":
    """Return the scores of every unit; criteria that read data run on calibration data once."""
    return _scores(recipe.model, recipe.score_settings, recipe)


@_kept(32)
def _scores(identity: str, settings: str, _recipe: Recipe) -> "Scores":  # noqa: ARG001
    from pruning_core.scoring.score import score

    return score(model(identity), network(identity), _recipe)


def plan(recipe: Recipe) -> "Plan":
    """Return the recipe resolved against its scores."""
    return _plan(recipe.fingerprint, recipe)


@_kept(64)
def _plan(fingerprint: str, _recipe: Recipe) -> "Plan":  # noqa: ARG001
    from pruning_core.planning.resolve import resolve

    return resolve(_recipe, network(_recipe.model), scores(_recipe))


def plan_fingerprint(recipe: Recipe) -> str:
    """Return the fingerprint of the plan's masks; recipes that prune the same have the same."""
    return _plan_fingerprint(recipe.fingerprint, recipe)


@_kept(256)
def _plan_fingerprint(fingerprint: str, _recipe: Recipe) -> str:  # noqa: ARG001
    return plan(_recipe).fingerprint


def time_shares(identity: str) -> "Mapping[str, float] | None":
    """Return layer name -> measured share of the dense model's time; None until it was measured.

    It is measured once, by a button beside the savings strip.
    """
    from pages.common import measuring, starter

    found = measuring.shares(starter.offer().recipe(identity))
    return found.answer["shares"] if found is not None and found.state == "done" else None


def preview(recipe: Recipe) -> "Preview":
    """Return the exact cost before and after the recipe."""
    return _preview(recipe.fingerprint, recipe)


@_kept(64)
def _preview(fingerprint: str, _recipe: Recipe) -> "Preview":  # noqa: ARG001
    from pruning_core.preview import preview as preview_plan

    return preview_plan(network(_recipe.model), plan(_recipe))


def track(recipe: Recipe, site: str) -> "Track":
    """Return the exact totals of the whole model for each position of one layer's threshold."""
    return _track(recipe.fingerprint, site, recipe)


@_kept(32)
def _track(fingerprint: str, site: str, _recipe: Recipe) -> "Track":  # noqa: ARG001
    from pruning_core.preview import tracks

    return tracks(network(_recipe.model), plan(_recipe), scores(_recipe), site)


def bins(recipe: Recipe, site: str) -> "Bins":
    """Return the histogram of one layer's scores."""
    return _bins(recipe.model, recipe.score_settings, site, recipe)


@_kept(64)
def _bins(identity: str, settings: str, site: str, _recipe: Recipe) -> "Bins":  # noqa: ARG001
    from pruning_core.figures.histogram import bin_scores

    return bin_scores(scores(_recipe).by_site[site])


def cumulative(recipe: Recipe, site: str) -> "Cumulative":
    """Return the cumulative curve of one layer's scores."""
    return _cumulative(recipe.model, recipe.score_settings, site, recipe)


@_kept(64)
def _cumulative(identity: str, settings: str, site: str, _recipe: Recipe) -> "Cumulative":  # noqa: ARG001
    from pruning_core.figures.histogram import accumulate

    return accumulate(scores(_recipe).by_site[site])


def savings_in_turn(recipe: Recipe) -> "Savings | None":
    """Return what each group or branch saves in the order of leaving; None under masks."""
    return _savings_in_turn(recipe.fingerprint, recipe)


@_kept(16)
def _savings_in_turn(fingerprint: str, _recipe: Recipe) -> "Savings | None":  # noqa: ARG001
    from pruning_core.savings import in_turn

    return in_turn(network(_recipe.model), plan(_recipe), preview(_recipe))


def listed(recipe: Recipe, site: str, order: "UnitOrder", page: int) -> "NDArray[np.int64]":
    """Return the units of one page of a layer, by score or by number."""
    return _listed(recipe.model, recipe.score_settings, site, order, page, recipe)


@_kept(32)
def _listed(
    identity: str,  # noqa: ARG001
    settings: str,  # noqa: ARG001
    site: str,
    order: "UnitOrder",
    page: int,
    _recipe: Recipe,
) -> "NDArray[np.int64]":
    from pruning_core.planning.listing import listed as units_listed

    return units_listed(scores(_recipe).by_site[site], order, page)


def explanation(recipe: Recipe, site: str, unit: int) -> "Explanation":
    """Return why one unit goes or stays, and everything that belongs to it."""
    return _explanation(recipe.fingerprint, site, unit, recipe)


@_kept(64)
def _explanation(fingerprint: str, site: str, unit: int, _recipe: Recipe) -> "Explanation":  # noqa: ARG001
    from pruning_core.planning.explain import explain

    return explain(plan(_recipe), network(_recipe.model), scores(_recipe), site, unit)


def portrait(recipe: Recipe, parameter: str, look: "Look") -> "Portrait":
    """Return one parameter as it is looked at; scores matter only where they make the order."""
    by_score = "score" in (look.rows, look.columns)
    settings = recipe.score_settings if by_score else ""
    return _portrait(recipe.model, parameter, repr(look), settings, look, recipe)


@st.cache_resource(show_spinner="Drawing the layer", max_entries=24)
def _portrait(
    identity: str,
    parameter: str,
    written: str,  # noqa: ARG001
    settings: str,
    _look: "Look",
    _recipe: Recipe,
) -> "Portrait":
    from pruning_core.figures.portrait import portrait as draw

    rated = scores(_recipe).by_site if settings else {}
    return draw(network(identity), parameter, _look, rated)


@_kept(16)
def largest(identity: str, *, kernels: bool) -> float:
    """Return the largest magnitude of all weights of a model, or of all kernels' L1 norms."""
    from pruning_core.figures.portrait import largest as largest_of

    return largest_of(network(identity), kernels=kernels)


@_kept(64)
def couplings(identity: str, group: str) -> "dict[tuple[str, int], Path]":
    """Return why each tensor axis of a group shrinks with the layer that makes its units."""
    from pruning_core.tracing.coupling import coupling_paths

    traced = network(identity)
    return coupling_paths(traced, traced.group(group))


def quantiles(recipe: Recipe) -> "Mapping[str, NDArray[np.float32]]":
    """Return seven order statistics of the scores of each layer."""
    return _quantiles(recipe.model, recipe.score_settings, recipe)


@st.cache_resource(show_spinner="Sorting scores…", max_entries=16)
def _quantiles(
    identity: str,  # noqa: ARG001
    settings: str,  # noqa: ARG001
    _recipe: Recipe,
) -> "Mapping[str, NDArray[np.float32]]":
    from pruning_core.figures.ridgeline import quantiles as order_statistics

    return {name: order_statistics(own) for name, own in scores(_recipe).by_site.items()}


def ribbons(recipe: Recipe) -> "tuple[Ribbon, ...]":
    """Return how wide each layer is, dense and planned."""
    return _ribbons(recipe.fingerprint, recipe)


@_kept(16)
def _ribbons(fingerprint: str, _recipe: Recipe) -> "tuple[Ribbon, ...]":  # noqa: ARG001
    from pruning_core.figures.ribbons import ribbons_of

    return ribbons_of(network(_recipe.model), plan(_recipe))


def reachable(recipe: Recipe, site: "Site") -> "NDArray[np.bool_]":
    """Return ``[P]`` which positions of :func:`track` the recipe allows."""
    from pruning_core.planning.order import reachable as can_be_reached

    return can_be_reached(recipe, site, track(recipe, site.name).n_removed)


def rated_by(recipe: Recipe, criterion: str) -> Recipe:
    """Return the recipe's own part with another criterion, which gives the same units scores."""
    reduces = registry("criteria")[criterion].reduces
    alone = recipe.parts[""]
    return alone.replace(criterion=criterion, reduction=alone.reduction if reduces else "sum")


def ranked(recipe: Recipe, criteria: tuple[str, ...], site: str | None) -> "Ranked":
    """Return the units of one layer, or of all, in order by each of the criteria."""
    variants = [rated_by(recipe, key) for key in criteria]
    settings = tuple(variant.score_settings for variant in variants)
    return _ranked(settings, recipe.scope == "global", site, variants)


@st.cache_resource(show_spinner="Comparing ranks…", max_entries=8)
def _ranked(
    settings: tuple[str, ...],  # noqa: ARG001
    together: bool,
    site: str | None,
    _variants: list[Recipe],
) -> "Ranked":
    from pruning_core.scoring.agreement import rank

    return rank(
        {variant.criterion: scores(variant) for variant in _variants},
        together=together,
        sites=None if site is None else [site],
    )


def pruned_by_both(
    recipe: Recipe, criteria: tuple[str, ...], site: str | None
) -> "NDArray[np.int64]":
    """Return how many units any two criteria both prune at the counts of the plan."""
    return _pruned_by_both(recipe.fingerprint, criteria, site, recipe)


@st.cache_resource(show_spinner="Comparing what leaves…", max_entries=16)
def _pruned_by_both(
    fingerprint: str,  # noqa: ARG001
    criteria: tuple[str, ...],
    site: str | None,
    _recipe: Recipe,
) -> "NDArray[np.int64]":
    from pruning_core.scoring.agreement import shared

    found = {key: scores(rated_by(_recipe, key)) for key in criteria}
    return shared(found, _removed(_recipe, ranked(_recipe, criteria, site).sites))


def disagreements(
    recipe: Recipe, criteria: tuple[str, ...], pair: tuple[str, str], site: str | None
) -> "tuple[Disagreement, ...]":
    """Return the units on which two of the criteria disagree most."""
    return _disagreements(recipe.fingerprint, criteria, pair, site, recipe)


@_kept(16)
def _disagreements(
    fingerprint: str,  # noqa: ARG001
    criteria: tuple[str, ...],
    pair: tuple[str, str],
    site: str | None,
    _recipe: Recipe,
) -> "tuple[Disagreement, ...]":
    from pruning_core.scoring.agreement import disagreements as found

    order = ranked(_recipe, criteria, site)
    rated = {key: scores(rated_by(_recipe, key)) for key in pair}
    return found(order, rated, pair, _removed(_recipe, order.sites))


def _removed(recipe: Recipe, names: tuple[str, ...]) -> dict[str, int]:
    planned = plan(recipe)
    return {name: planned.n_removed(name) for name in names}


def sites(recipe: Recipe) -> "dict[str, Site]":
    """Return what a threshold can act on, by name, in execution order.

    Of a mixed recipe these are the sites of its first granularity.
    """
    found = registry("granularities")[recipe.granularity].sites(network(recipe.model))
    return {site.name: site for site in found}


def registry(name: str) -> Any:
    """Return the registry of that name, e.g. ``criteria``."""
    module, attribute = _REGISTRIES[name]
    return getattr(importlib.import_module(f"pruning_core.{module}"), attribute)


_REGISTRIES: Final = {
    "criteria": ("scoring.criteria", "CRITERIA"),
    "granularities": ("granularities", "GRANULARITIES"),
    "datasets": ("loading.dataset", "DATASETS"),
    "quantisers": ("quantising.quantiser", "QUANTISERS"),
    "augmentations": ("tuning.augmentations", "AUGMENTATIONS"),
    "penalties": ("tuning.sparsity", "PENALTIES"),
    "exporters": ("exporting.exporter", "EXPORTERS"),
}


@st.cache_resource(show_spinner=False)
def devices() -> tuple[str, ...]:
    """Return the devices of this machine; the one that ``PRUNING_STUDIO_DEVICE`` names is first.

    Raises:
        PruningError: If it names none of them.
    """
    from pruning_core.devices import available, chosen_device

    usual = chosen_device().type
    return (usual, *(name for name in available() if name != usual))


@st.cache_resource(show_spinner=False)
def has_bfloat16(device: str) -> bool:
    """Tell whether mixed precision pays on a device of this machine."""
    from pruning_core.devices import supports_bfloat16

    return supports_bfloat16(device)


@st.cache_resource(show_spinner="Reading the data…", max_entries=8)
def dataset(key: str, input_shape: tuple[int, ...] | None = None) -> "Dataset":
    """Return a data set; of the built-in ones the bundled subset, of texts pieces for a model."""
    from pruning_core.loading.dataset import load_dataset

    return load_dataset(key, source="bundled", input_shape=input_shape)


def task(recipe: "Recipe") -> "Task":
    """Return what the data of a recipe ask for; of data that cannot be read, classification."""
    return _task(recipe.data or model(recipe.model).data)


def metric(recipe: "Recipe") -> "Metric":
    """Return what the task of a recipe is judged by."""
    return task(recipe).metrics[0]


@_kept(64)
def _task(key: str | None) -> "Task":
    from pruning_core.loading.dataset import task_of
    from pruning_core.tasks.registry import CLASSIFICATION

    try:
        return task_of(key)
    except PruningError:
        return CLASSIFICATION


def class_names(key: str) -> tuple[str, ...]:
    """Return the names of the classes of a data set."""
    return dataset(key).classes
