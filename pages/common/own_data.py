"""One's own data: upload, one screen to confirm how they are read, and a check of the model."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import streamlit as st

from pages.common import cache, measuring, state, uploads
from pages.common.format import judged, markdown, percent, plural
from pruning_core.errors import InvalidRecipeError
from pruning_core.planning.recipe import Recipe
from pruning_core.runs.bench import Question

if TYPE_CHECKING:
    from pruning_core.loading.own_data import DataCard
    from pruning_core.loading.split import Dataset

_FIELD: Final = "data"
_PICTURES: Final = 12
_FIND_OUT: Final = ""
_TEXT: Final = 160


def panel() -> None:
    """Draw the field that takes data, how they are read, and what the model makes of them."""
    network = cache.network(state.recipe().model)
    with st.expander("Use your own data", icon=":material/dataset:", key="own_data"):
        if not network.has_forward:
            st.caption("Weights without an architecture cannot be run, so no data can be used.")
            return
        left, right = st.columns([2, 3], gap="medium")
        with left:
            task = _task_field()
            found = uploads.field(
                _FIELD,
                f"Inputs of shape {' x '.join(map(str, _shape()))} and their targets: .npz, .zip, "
                ".csv, .gz, .txt (and .json)",
                lambda paths: _read(paths, task),
                help_text="NPZ with x and y (or x_train, y_train, x_test, y_test), where y are "
                "classes, numbers or masks; a zip with a folder of images for each class, or with "
                "the folders images and masks; CSV with a column called label or target; IDX "
                "images with labels (.gz); a text in UTF-8 (.txt) for language models, best "
                "together with the model's tokenizer.json.",
            )
        with right:
            if found is not None and tuple(found.shape) == _shape():
                _confirm(found)
            else:
                _present()


def _task_field() -> str | None:
    """Draw what the targets of a file are; None leaves it to the file."""
    from pruning_core.tasks.registry import TASKS

    titles = {_FIND_OUT: "Found out from the file"} | {k: task.title for k, task in TASKS.items()}
    chosen = st.selectbox(
        "Task",
        list(titles),
        format_func=titles.__getitem__,
        key="data_task",
        persist_state="session",
        help="Choose it before the file is given. Whole numbers are read as classes unless "
        "regression is chosen. "
        + " ".join(f"{task.title}: {task.targets}" for task in TASKS.values()),
    )
    return chosen or None


def _shape() -> tuple[int, ...]:
    """Return the shape of one input of the present model."""
    tensors = cache.model(state.recipe().model).example_inputs
    return tuple(int(size) for size in tensors[0].shape[1:])


def _read(paths: Mapping[str, Path], task: str | None) -> "DataCard":
    from pruning_core.loading.intake.store import MOST_BYTES
    from pruning_core.loading.own_data import take_in_data

    return take_in_data(paths, _shape(), task=task, most_bytes=MOST_BYTES)


def _confirm(card: "DataCard") -> None:
    """Draw how the data are read; the button uses them so."""
    from pruning_core.loading.own_data import split_sizes
    from pruning_core.tasks.registry import TASKS

    task = TASKS[card.task]
    st.markdown(f"**{markdown(card.title)}**: {task.title.lower()}")
    for note in card.notes:
        st.warning(markdown(note))
    data = _dataset(card)
    _pictures(data, card)
    classes = ", ".join(card.classes)[:20_000]
    if card.classes:
        classes = st.text_input(
            "Names of the classes, in the order of their numbers",
            classes,
            key=f"data_classes.{card.values}",
        )
    normalised = not (task.reads_tokens or cache.model(state.recipe().model).reads_tokens)
    mean, std = card.mean, card.std
    with st.container(horizontal=True):
        if normalised:
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
    sees = (
        f"The model sees (value / {card.scale:g} - mean) / deviation; suggested are those of the "
        "training samples."
        if normalised
        else "The model sees the numbers of the tokens as they are."
    )
    st.caption(
        f"{sees} {n_train:,} training, {n_validation:,} validation and {n_test:,} test "
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


def _pictures(data: "Dataset", card: "DataCard") -> None:
    """Draw the first samples with their targets, as pictures where they are images."""
    shape, split = data.input_shape, data.train
    n = min(_PICTURES, len(split))
    if data.task.reads_tokens:
        _texts(data, card)
        return
    names = _target_names(data, n)
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
        if data.task.moves_with_pixels:
            _masks(data, n, factor, width)
    else:
        rows = split.inputs[:n].reshape(n, -1)[:, :8].float().numpy().round(4)
        columns = {f"value {i}": rows[:, i] for i in range(rows.shape[1])}
        st.dataframe(
            {"class" if data.task.counts_classes else "target": names, **columns},
            hide_index=True,
            height=180,
            alt=f"The first {n} samples and their targets",
        )


def _target_names(data: "Dataset", n: int) -> list[str]:
    """Return the targets of the first ``n`` training samples in words."""
    targets = data.train.labels[:n].tolist()
    if data.task.counts_classes:
        known = data.classes
        return [known[label] if label < len(known) else "?" for label in targets]
    if data.task.moves_with_pixels:
        return [str(place + 1) for place in range(n)]
    return [", ".join(f"{value:.4g}" for value in values[:4]) for values in targets]


def _masks(data: "Dataset", n: int, factor: int, width: int) -> None:
    """Draw the masks of the first samples; the lighter, the higher the class; void is black."""
    masks = data.train.labels[:n].long().clamp_min(-1).numpy() + 1
    shades = (255 * masks / max(1, len(data.classes))).astype(np.uint8)
    st.image(
        [np.repeat(np.repeat(shade, factor, 0), factor, 1) for shade in shades],
        caption=[f"mask {place + 1}" for place in range(n)],
        width=width,
    )


def _texts(data: "Dataset", card: "DataCard") -> None:
    """Draw the beginnings of the first pieces of a text."""
    pieces = data.train.inputs[:4].numpy().astype(np.int64)
    texts = card.beginnings or [
        bytes(piece[:_TEXT].clip(0, 255).tolist()).decode("utf-8", "replace") for piece in pieces
    ]
    st.dataframe(
        {"piece": [f"{place + 1:,}" for place in range(len(texts))], "text": texts},
        hide_index=True,
        alt="The first pieces of the text",
    )


def _kind(data: "Dataset") -> str:
    """Say in a few words what the targets of data are."""
    if data.task.counts_classes:
        return f"{len(data.classes)} classes"
    if data.task.moves_with_pixels:
        return f"{data.task.title.lower()}, {len(data.classes)} classes"
    if data.task.has_classes:
        return f"{data.task.title.lower()}, pieces of {data.input_shape[0]:,} tokens"
    n = data.train.labels.shape[1]
    return f"{data.task.title.lower()}, {n} {plural('number', n)} a sample"


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
    data = cache.dataset(key, _shape())
    st.markdown(f"**{markdown(data.title)}**, {_kind(data)}, {markdown(data.source)}")
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
    from pruning_core.tasks.registry import TASKS

    task = TASKS[found["task"]]
    if not task.counts_classes:
        metric = task.metrics[0]
        better = "higher" if metric.higher_is_better else "lower"
        st.markdown(
            f"The {metric.name} of the dense model is **{judged(metric, found['accuracy'])}** on "
            f"{found['n']:,} validation samples (95 % interval {metric.between(*found['interval'])}"
            f"; {better} is better); {task.naive_way} would reach "
            f"{judged(metric, found['chance'])}. :gray-badge[MEASURED]"
        )
        _suspicions(found)
        return
    low, high = (percent(share) for share in found["interval"])
    st.markdown(
        f"The dense model names **{percent(found['accuracy'])}** of {found['n']:,} validation "
        f"samples correctly (95 % interval {low} to {high}); always naming the most frequent class "
        f"would reach {percent(found['chance'])}. :gray-badge[MEASURED]"
    )
    _suspicions(found)


def _suspicions(found: Mapping[str, Any]) -> None:
    for sentence in found["suspicions"]:
        st.warning(markdown(sentence))
