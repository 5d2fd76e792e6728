"""One's own data: upload, one screen to confirm how they are read, and a check of the model."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import streamlit as st

from pages.common import cache, measuring, state, uploads
from pages.common.format import markdown, percent
from pruning_core.errors import InvalidRecipeError
from pruning_core.planning.recipe import Recipe
from pruning_core.runs.bench import Question

if TYPE_CHECKING:
    from pruning_core.loading.own_data import DataCard
    from pruning_core.loading.split import Dataset

_FIELD: Final = "data"
_PICTURES: Final = 12


def panel() -> None:
    """Draw the field that takes data, how they are read, and what the model makes of them."""
    network = cache.network(state.recipe().model)
    with st.expander("Use your own data", icon=":material/dataset:", key="own_data"):
        if not network.has_forward:
            st.caption("Weights without an architecture cannot be run, so no data can be used.")
            return
        left, right = st.columns([2, 3], gap="medium")
        with left:
            found = uploads.field(
                _FIELD,
                f"Inputs of shape {' x '.join(map(str, _shape()))} and their classes: .npz, .zip, "
                ".csv, .gz",
                _read,
                help_text="NPZ with x and y (or x_train, y_train, x_test, y_test); a zip with a "
                "folder of images for each class; CSV with a column called label; IDX images with "
                "labels (.gz).",
            )
        with right:
            if found is not None and tuple(found.shape) == _shape():
                _confirm(found)
            else:
                _present()


def _shape() -> tuple[int, ...]:
    """Return the shape of one input of the present model."""
    tensors = cache.model(state.recipe().model).example_inputs
    return tuple(int(size) for size in tensors[0].shape[1:])


def _read(paths: Mapping[str, Path]) -> "DataCard":
    from pruning_core.loading.intake.store import MOST_BYTES
    from pruning_core.loading.own_data import take_in_data

    return take_in_data(paths, _shape(), most_bytes=MOST_BYTES)


def _confirm(card: "DataCard") -> None:
    """Draw how the data are read; the button uses them so."""
    from pruning_core.loading.own_data import split_sizes

    st.markdown(f"**{markdown(card.title)}**")
    for note in card.notes:
        st.warning(markdown(note))
    data = _dataset(card)
    _pictures(data)
    classes = st.text_input(
        "Names of the classes, in the order of their numbers",
        ", ".join(card.classes)[:20_000],
        key=f"data_classes.{card.values}",
    )
    with st.container(horizontal=True):
        mean = st.number_input(
            "Mean", value=card.mean, format="%.6f", key=f"data_mean.{card.values}"
        )
        std = st.number_input(
            "Standard deviation",
            value=card.std,
            min_value=1e-6,
            format="%.6f",
            key=f"data_std.{card.values}",
        )
        held = st.number_input(
            "Validation and test, % each",
            value=15,
            min_value=1,
            max_value=45,
            key=f"data_held.{card.values}",
        )
    share = held / 100
    wanted = replace(
        card,
        classes=_names(classes),
        mean=float(mean),
        std=float(std),
        shares=(1 - 2 * share, share, share),
    )
    n_train, n_validation, n_test = split_sizes(wanted)
    st.caption(
        f"The model sees (value / {card.scale:g} - mean) / deviation; suggested are those of the "
        f"training samples. {n_train:,} training, {n_validation:,} validation and {n_test:,} test "
        "samples" + (" (the test samples of the file)." if "test." in (card.sizes or {}) else ".")
    )
    st.button(
        "Use these data",
        type="primary",
        width="stretch",
        on_click=lambda: state.attempt(lambda: _use(wanted, len(card.classes))),
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip()[:60] for name in text.split(",") if name.strip())


def _use(card: "DataCard", n_classes: int) -> None:
    from pruning_core.loading.own_data import keep_card

    if len(card.classes) != n_classes:
        raise InvalidRecipeError(
            f"There are {len(card.classes)} names for {n_classes} classes. Write one for each, "
            "with commas between them."
        )
    state.set_recipe(state.recipe().replace(data=keep_card(card)))
    uploads.forget(_FIELD)


@st.cache_resource(show_spinner=False, max_entries=8)
def _loaded(text: str, _card: "DataCard") -> "Dataset":  # noqa: ARG001 - the key
    from pruning_core.loading.own_data import keep_card, load_own

    return load_own(keep_card(_card))


def _dataset(card: "DataCard") -> "Dataset":
    return _loaded(repr(card), card)


def _pictures(data: "Dataset") -> None:
    """Draw the first samples with their classes, where they are images."""
    shape, split = data.input_shape, data.train
    n = min(_PICTURES, len(split))
    labels = split.labels[:n].tolist()
    names = [data.classes[label] if label < len(data.classes) else "?" for label in labels]
    if len(shape) == 3 and shape[0] in {1, 3}:
        images = split.inputs[:n].float().numpy() / split.scale
        low, high = float(np.nanmin(images)), float(np.nanmax(images))
        grey = (np.nan_to_num(images) - min(0.0, low)) / max(1e-9, max(1.0, high) - min(0.0, low))
        width = 64
        factor = max(1, width // max(shape[1:]))
        arrays = [
            np.repeat(np.repeat((255 * x).astype(np.uint8), factor, 1), factor, 2).transpose(
                1, 2, 0
            )
            for x in grey
        ]
        st.image(
            [x[..., 0] if shape[0] == 1 else x for x in arrays],
            caption=[markdown(name) for name in names],
            width=width,
        )
    else:
        rows = split.inputs[:n].reshape(n, -1)[:, :8].float().numpy().round(4)
        st.dataframe(
            {"class": names, **{f"value {i}": rows[:, i] for i in range(rows.shape[1])}},
            hide_index=True,
            height=180,
            alt=f"The first {n} samples and their classes",
        )


def _present() -> None:
    """Draw which data the model is measured on, and the check of the model on them."""
    recipe = state.recipe()
    key = recipe.data or cache.model(recipe.model).data
    if key is None:
        st.caption(
            "No data are known for this model. What reads weights alone works; accuracy, "
            "fine-tuning, and criteria marked with data need some."
        )
        return
    data = cache.dataset(key)
    st.markdown(f"**{markdown(data.title)}**, {len(data.classes)} classes, {markdown(data.source)}")
    if recipe.data is not None:
        st.button(
            "Stop using these data",
            type="tertiary",
            on_click=lambda: state.attempt(
                lambda: state.set_recipe(
                    state.recipe().replace(data=state.fresh(recipe.model).data)
                )
            ),
        )
    _check(
        Question("baseline", Recipe(model=recipe.model, data=key, input_shape=recipe.input_shape)),
        at_once=recipe.data is not None,
    )


def _check(question: "Question", *, at_once: bool) -> None:
    """Draw how good the dense model is on the data, measured beside the page."""
    known = measuring.bench().look(question)
    if known is None and at_once:
        known = measuring.bench().ask(question)
    if known is not None and known.is_pending:
        measuring.wait(question, "Checking the model on these data")
    elif known is not None and known.state == "done":
        _show(known.answer)
    else:
        if known is not None and known.state == "failed":
            st.warning(markdown(known.text))
        st.button(
            "Check the model on these data",
            key="check_baseline",
            on_click=lambda: state.attempt(lambda: measuring.again(question)),
        )


def _show(found: Mapping[str, Any]) -> None:
    low, high = (percent(share) for share in found["interval"])
    st.markdown(
        f"The dense model names **{percent(found['accuracy'])}** of {found['n']:,} validation "
        f"samples correctly (95 % interval {low} to {high}); always naming the most frequent class "
        f"would reach {percent(found['chance'])}. :gray-badge[MEASURED]"
    )
    for sentence in found["suspicions"]:
        st.warning(markdown(sentence))
