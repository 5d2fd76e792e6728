"""The settings of fine-tuning beyond the first few, in groups; each says what is set inside."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Final

import streamlit as st

from pages.common import cache, edits, state
from pages.common.format import count, markdown
from pages.common.glossary_links import explained
from pruning_core.planning.recipe import Distillation, Recipe, Tuning

_SCHEDULES: Final = {
    "cosine": "Falls to zero (cosine)",
    "constant": "Constant",
    "step": "Falls in steps",
    "one_cycle": "Up and down (one cycle)",
}
_LAYERS: Final = {"all": "All layers", "pruned": "Layers that lost something"}
_PRECISIONS: Final = {"float32": "float32", "bfloat16": "bfloat16 (mixed)"}
_DEVICES: Final = {"cpu": "Processor", "cuda": "NVIDIA or AMD GPU", "mps": "Apple GPU"}
_MANY_LAYERS: Final = 3
_NONE: Final = ""


def show(recipe: Recipe) -> None:
    """Draw every group."""
    with group("Sparse training first", _sparse_in_words(recipe)):
        _sparse(recipe)
    with group("Learning rate", _rate_in_words(recipe.tuning)):
        _rate(recipe.tuning)
    with group("Optimiser", _optimiser_in_words(recipe.tuning)):
        _optimiser(recipe.tuning)
    with group("Training data", _data_in_words(recipe.tuning)):
        _data(recipe)
    with group("Trained layers", _layers_in_words(recipe.tuning)):
        _trained(recipe)
    with group("Distillation", _distillation_in_words(recipe.tuning)):
        _distillation(recipe)
    with group("Early stop, best epoch", _watch_in_words(recipe.tuning)):
        _watch(recipe.tuning)
    with group("Device, precision", _device_in_words(recipe.tuning)):
        _device(recipe.tuning)
        _event_files()


@contextmanager
def group(title: str, inside: str) -> Iterator[None]:
    """Draw an expander that stays open or closed when its line changes."""
    key = "group_" + "".join(letter for letter in title.lower() if letter.isalpha())
    with st.expander(f"**{title}** · {inside}", key=key, type="compact"):
        yield


def _sparse(recipe: Recipe) -> None:
    known = cache.registry("penalties")
    chosen = recipe.sparse
    st.selectbox(
        "Pulled to zero",
        [_NONE, *known],
        format_func=lambda key: known[key].title if key else "Nothing",
        help=explained(
            "Before it is rated, the dense network is trained with a penalty on these, so that "
            "what it can do without becomes zero. The histogram moves on the right meanwhile.",
            *("sparse training", "penalty"),
        ),
        **state.bound("sparse_kind", chosen.kind if chosen else _NONE, _choose_sparse),
    )
    if chosen is None or chosen.kind not in known:
        return
    st.caption(markdown(known[chosen.kind].description))
    left, right = st.columns(2)
    left.number_input(
        "Strength of the penalty",
        min_value=0.0,
        max_value=1000.0,
        format="%.2g",
        step=chosen.strength / 2,
        value=None,
        help="Its factor in the loss: more makes more zeros and costs accuracy. "
        f"{known[chosen.kind].usual:g} is a start.",
        **_sparse_bound("strength", chosen.strength),
    )
    right.number_input(
        "Sparse epochs",
        min_value=1,
        max_value=1000,
        value=None,
        **_sparse_bound("epochs", chosen.epochs),
    )
    left.number_input(
        "Its learning rate",
        min_value=0.0,
        max_value=10.0,
        format="%.2g",
        step=(chosen.learning_rate or recipe.tuning.learning_rate) / 2,
        value=None,
        placeholder="as fine-tuning",
        help="Constant; empty means that of the fine-tuning.",
        **_sparse_bound("learning_rate", chosen.learning_rate, may_be_empty=True),
    )


def _choose_sparse(kind: str) -> None:
    if not kind:
        state.set_recipe(state.recipe().replace(sparse=None))
        return
    usual = float(cache.registry("penalties")[kind].usual)
    state.set_recipe(edits.with_sparse(state.recipe(), kind=kind, strength=usual))


def _sparse_bound(field: str, value: Any, *, may_be_empty: bool = False) -> state.Bound:
    return state.bound(
        f"sparse_{field}",
        value,
        lambda new: state.set_recipe(edits.with_sparse(state.recipe(), **{field: new})),
        may_be_empty=may_be_empty,
    )


def _sparse_in_words(recipe: Recipe) -> str:
    sparse, known = recipe.sparse, cache.registry("penalties")
    if sparse is None:
        return "none"
    title = known[sparse.kind].title if sparse.kind in known else sparse.kind
    epochs = "1 epoch" if sparse.epochs == 1 else f"{sparse.epochs} epochs"
    return f"{markdown(title.partition(' (')[0].lower())}, {epochs}"


def _rate(tuning: Tuning) -> None:
    left, right = st.columns(2)
    shape = tuning.learning_rate_schedule
    left.selectbox(
        "Rate over time",
        list(_SCHEDULES),
        format_func=_SCHEDULES.__getitem__,
        help="What the learning rate does during the epochs of a round.",
        **bound("learning_rate_schedule", shape),
    )
    right.number_input(
        "Warm-up steps",
        min_value=0,
        max_value=10**6,
        value=None,
        help="Batches in which the rate rises to its full value."
        + (" 0 means 30 % of all." if shape == "one_cycle" else ""),
        **bound("warmup_steps", tuning.warmup_steps),
    )
    if shape != "step":
        return
    left.text_input(
        "Falls after epochs",
        placeholder="e.g. 10, 15",
        help="Epochs after which the rate is multiplied by the factor; empty means regularly.",
        **state.bound(
            "tuning_step_milestones", ", ".join(map(str, tuning.step_milestones)), _set_milestones
        ),
    )
    right.number_input(
        "Or every … epochs",
        min_value=1,
        max_value=1000,
        value=None,
        disabled=bool(tuning.step_milestones),
        **bound("step_every", tuning.step_every),
    )
    left.number_input(
        "Factor",
        min_value=0.0,
        max_value=1.0,
        step=0.1,
        value=None,
        help="Above 0 and below 1.",
        **bound("step_factor", tuning.step_factor),
    )


def _set_milestones(text: str) -> None:
    words = text.replace(",", " ").split()
    numbers = [int(word) if word.isascii() and word.isdigit() else word for word in words]
    _write(step_milestones=tuple(numbers))


def _rate_in_words(tuning: Tuning) -> str:
    words = {
        "cosine": "falls to zero",
        "constant": "constant",
        "step": f"falls by {tuning.step_factor:g} in steps",
        "one_cycle": "up and down",
    }[tuning.learning_rate_schedule]
    warm = f", {count(tuning.warmup_steps)} warm-up steps" if tuning.warmup_steps else ""
    return words + warm


def _optimiser(tuning: Tuning) -> None:
    left, right = st.columns(2)
    left.number_input(
        "Weight decay",
        min_value=0.0,
        max_value=1.0,
        format="%.2g",
        step=1e-4,
        value=None,
        **bound("weight_decay", tuning.weight_decay),
    )
    right.number_input(
        "Momentum",
        min_value=0.0,
        max_value=1.0,
        step=0.05,
        disabled=tuning.optimiser != "sgd",
        value=None,
        help="Of SGD (Nesterov); Adam and AdamW have their own.",
        **bound("momentum", tuning.momentum),
    )
    left.number_input(
        "Clip gradients at",
        min_value=0.0,
        max_value=1e6,
        step=0.5,
        value=None,
        placeholder="off",
        help="Gradients that are longer than this (the norm of all of them) are scaled down to it.",
        **bound("gradient_clip", tuning.gradient_clip, may_be_empty=True),
    )
    right.number_input(
        "Label smoothing",
        min_value=0.0,
        max_value=1.0,
        step=0.05,
        value=None,
        help="Share of each label that is spread over all classes; 0 is off, 0.1 is usual.",
        **bound("label_smoothing", tuning.label_smoothing),
    )


def _optimiser_in_words(tuning: Tuning) -> str:
    parts = [
        f"momentum {tuning.momentum:g}" if tuning.optimiser == "sgd" else "",
        f"weight decay {tuning.weight_decay:g}" if tuning.weight_decay else "",
        f"clipped at {tuning.gradient_clip:g}" if tuning.gradient_clip else "",
        f"labels smoothed by {tuning.label_smoothing:g}" if tuning.label_smoothing else "",
    ]
    return _joined(parts, "nothing special")


def _data(recipe: Recipe) -> None:
    tuning = recipe.tuning
    st.number_input(
        "Training examples",
        min_value=2,
        placeholder="all",
        help="Drawn once from the training split; empty means all.",
        value=None,
        **bound("train_samples", tuning.train_samples, may_be_empty=True),
    )
    known = cache.registry("augmentations")
    no_images = not takes_images(recipe)
    why = "These inputs are no images." if no_images else "Drawn anew for every batch."
    st.checkbox(
        "Mirror images at random",
        disabled=no_images,
        help=why,
        **bound("horizontal_flip", tuning.horizontal_flip),
    )
    st.multiselect(
        "Change images at random",
        list(known),
        format_func=lambda key: known[key].title,
        placeholder="no images" if no_images else "not changed",
        disabled=no_images,
        help=why + " " + " ".join(f"{item.title}: {item.description}" for item in known.values()),
        **state.bound(
            "tuning_augmentations",
            [key for key in known if key in tuning.augmentations],
            _choose_augmentations,
        ),
    )
    columns = st.columns(2)
    chosen = [key for key in tuning.augmentations if key in known]
    for place, key in enumerate(chosen):
        item = known[key]
        columns[place % 2].number_input(
            f"{item.title}, {item.unit}",
            min_value=1.0 if item.whole else 0.1,
            max_value=float(item.high),
            step=1.0,
            format="%g",
            value=None,
            help=item.description,
            **state.bound(f"augmentation_{key}", tuning.augmentations[key], _set_strength(key)),
        )


def takes_images(recipe: Recipe) -> bool:
    """Tell whether the model of the recipe reads images."""
    return cache.network(recipe.model).example_inputs[0].ndim == 4


def _choose_augmentations(keys: list[str]) -> None:
    known, present = cache.registry("augmentations"), state.recipe().tuning.augmentations
    _write(augmentations={key: present.get(key, float(known[key].usual)) for key in keys})


def _set_strength(key: str) -> Callable[[float], None]:
    def write(strength: float) -> None:
        _write(augmentations={**state.recipe().tuning.augmentations, key: strength})

    return write


def _data_in_words(tuning: Tuning) -> str:
    known = cache.registry("augmentations")
    n = tuning.train_samples
    parts = [
        "all examples" if n is None else f"{count(n)} examples",
        "mirrored" if tuning.horizontal_flip else "",
        *(
            f"{markdown(known[key].title.partition(' (')[0].lower() if key in known else key)} "
            f"{strength:g}"
            for key, strength in tuning.augmentations.items()
        ),
    ]
    return _joined(parts, "")


def _trained(recipe: Recipe) -> None:
    tuning = recipe.tuning
    st.selectbox(
        "Trained layers",
        list(_LAYERS),
        format_func=_LAYERS.__getitem__,
        **bound("layers", tuning.layers),
    )
    owners = [layer.name for layer in cache.network(recipe.model).layers if layer.n_params]
    others = [name for name in tuning.freeze if name not in owners]
    st.multiselect(
        "Frozen layers",
        [*owners, *others],
        placeholder="none",
        help=explained(
            "Left alone: neither their weights nor their running statistics change.", "frozen"
        ),
        **state.bound(
            "tuning_freeze", list(tuning.freeze), lambda names: _write(freeze=tuple(names))
        ),
    )


def _layers_in_words(tuning: Tuning) -> str:
    n = len(tuning.freeze)
    if 0 < n <= _MANY_LAYERS:
        frozen = f"{', '.join(map(markdown, tuning.freeze))} frozen"
    else:
        frozen = f"{n} frozen" if n else ""
    return _joined(["all" if tuning.layers == "all" else "only those that lost", frozen], "")


def _distillation(recipe: Recipe) -> None:
    chosen = recipe.tuning.distillation
    st.checkbox(
        "Learn from the dense model",
        help=explained(
            "While it is fine-tuned, the pruned network learns the dense model's answers besides "
            "the labels. It costs one pass of the dense model over the examples, or one an epoch "
            "where images are changed at random.",
            "distillation",
        ),
        **state.bound("distillation", chosen is not None, _choose_distillation),
    )
    if chosen is None:
        return
    left, right = st.columns(2)
    left.number_input(
        "Share of its answers",
        min_value=0.0,
        max_value=1.0,
        step=0.1,
        value=None,
        help="In the loss; the labels have the rest.",
        **_distillation_bound("alpha", chosen.alpha),
    )
    right.number_input(
        "Temperature",
        min_value=0.1,
        max_value=100.0,
        step=1.0,
        value=None,
        help="Softens the answers of both: higher shows more of how alike classes are.",
        **_distillation_bound("temperature", chosen.temperature),
    )
    owners = [layer.name for layer in cache.network(recipe.model).layers if layer.n_params]
    others = [name for name in chosen.features if name not in owners]
    st.multiselect(
        "Layers to match",
        [*owners, *others],
        placeholder="none, only the answers",
        help="Their outputs shall be those of the dense model, at the units that stayed.",
        **state.bound("distillation_features", list(chosen.features), _choose_features),
    )
    if chosen.features:
        st.number_input(
            "Weight of the match",
            min_value=0.0,
            max_value=1e6,
            format="%.3g",
            step=chosen.feature_weight / 2,
            value=None,
            help="Factor of the mean squared difference in the loss.",
            **_distillation_bound("feature_weight", chosen.feature_weight),
        )


def _choose_distillation(wanted: bool) -> None:
    _write(distillation=Distillation().model_dump() if wanted else None)


def _choose_features(names: list[str]) -> None:
    _change_distillation(features=tuple(names))


def _change_distillation(**changes: Any) -> None:
    present = state.recipe().tuning.distillation or Distillation()
    _write(distillation=present.model_dump() | changes)


def _distillation_bound(field: str, value: Any) -> state.Bound:
    return state.bound(
        f"distillation_{field}", value, lambda new: _change_distillation(**{field: new})
    )


def _distillation_in_words(tuning: Tuning) -> str:
    chosen = tuning.distillation
    if chosen is None:
        return "none"
    n = len(chosen.features)
    layers = "" if not n else "1 layer" if n == 1 else f"{n} layers"
    return _joined([f"answers {chosen.alpha:g}", f"temperature {chosen.temperature:g}", layers], "")


def _watch(tuning: Tuning) -> None:
    watches = tuning.patience is not None or tuning.restore_best
    metric = cache.metric(state.recipe())
    st.checkbox(
        "Keep the weights of the best epoch",
        help="Each round hands on the weights of its best epoch on validation data, not the last.",
        **bound("restore_best", tuning.restore_best),
    )
    left, right = st.columns(2)
    left.number_input(
        "Stop after … epochs without gain",
        min_value=1,
        max_value=1000,
        value=None,
        placeholder="never",
        help=explained(
            "Ends a round early when so many epochs brought no improvement on validation data.",
            *("early stop", "validation, test"),
        ),
        **bound("patience", tuning.patience, may_be_empty=True),
    )
    right.number_input(
        "Smallest gain that counts",
        min_value=0.0,
        max_value=10.0,
        format="%.3g",
        step=0.001,
        value=None,
        disabled=tuning.patience is None,
        help="In nats of loss, or as a share of accuracy: 0.001 is 0.1 percentage points. Other "
        "tasks count in their own loss and metric.",
        **bound("min_delta", tuning.min_delta),
    )
    left.selectbox(
        "Judged by validation",
        ["loss", "accuracy"],
        format_func=lambda name: "Loss" if name == "loss" else metric.capital,
        disabled=not watches,
        **bound("watched", tuning.watched),
    )
    right.number_input(
        "Average the weights",
        min_value=0.0,
        max_value=1.0,
        format="%g",
        step=0.001,
        value=None,
        placeholder="off",
        help="Each round hands on a moving average of its weights; this share of it stays at each "
        "step. 0.99 looks back about 100 steps, 0.998 about 500. Empty is off.",
        **bound("average_decay", tuning.average_decay, may_be_empty=True),
    )


def _watch_in_words(tuning: Tuning) -> str:
    watched = "loss" if tuning.watched == "loss" else cache.metric(state.recipe()).name
    n, decay = tuning.patience, tuning.average_decay
    epochs = "1 epoch" if n == 1 else f"{n} epochs"
    parts = [
        "all epochs" if n is None else f"stops after {epochs} without gain",
        f"best {watched}" if tuning.restore_best else "" if decay else "last weights",
        f"weights averaged ({decay:g})" if decay else "",
    ]
    return _joined(parts, "")


def _device(tuning: Tuning) -> None:
    left, right = st.columns(2)
    here = cache.devices()
    names = {"": "Automatic"} | {key: _DEVICES[key] for key in here}
    left.selectbox(
        "Device",
        list(names),
        format_func=names.__getitem__,
        disabled=len(here) == 1,
        help="Where this machine trains and measures. It is no part of the recipe: the same file "
        "runs on any machine. Other devices give other rounding, so not the same bits."
        + (" This machine has only its processor." if len(here) == 1 else ""),
        **state.bound("device", state.device(), state.choose_device),
    )
    supported = cache.has_bfloat16(state.device() or here[0])
    right.selectbox(
        "Precision",
        list(_PRECISIONS),
        format_func=_PRECISIONS.__getitem__,
        disabled=not supported and tuning.precision == "float32",
        help="bfloat16 computes layers with half the bits and keeps the weights in float32."
        + ("" if supported else " This device has no instructions for it."),
        **bound("precision", tuning.precision),
    )


def _event_files() -> None:
    is_there = find_spec("tensorboard") is not None
    st.toggle(
        "TensorBoard event files",
        disabled=not is_there,
        help="Runs started from now on also write event files into their folder; the run says "
        "where. It is no part of the recipe."
        + ("" if is_there else " Needs: python -m pip install -r requirements-cluster.txt"),
        **state.bound("event_files", state.event_files(), state.choose_event_files),
    )


def _device_in_words(tuning: Tuning) -> str:
    name = state.device() or cache.devices()[0]
    return f"{_DEVICES[name].lower() if name == 'cpu' else _DEVICES[name]}, {tuning.precision}"


def bound(field: str, value: Any, *, may_be_empty: bool = False) -> state.Bound:
    """Tie a widget to one field of the fine-tuning settings."""
    return state.bound(
        f"tuning_{field}", value, lambda new: _write(**{field: new}), may_be_empty=may_be_empty
    )


def _write(**changes: Any) -> None:
    state.set_recipe(edits.with_tuning(state.recipe(), **changes))


def _joined(parts: list[str], nothing: str) -> str:
    return ", ".join(part for part in parts if part) or nothing
