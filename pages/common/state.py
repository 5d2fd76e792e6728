"""What a session knows: one recipe, one selected layer, one run. Widgets are views of it.

The recipe in ``st.session_state`` is the only truth. A widget shows a value of it (:func:`bound`)
and writes a changed value back through a function given by the page; no page reads a widget's own
state. Plan, layer, view and run are also in the address, which the strip writes in the browser.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, TypedDict

import streamlit as st

from pages.common import cache, link, problems, starter
from pruning_core.errors import (
    InvalidRecipeError,
    PruningError,
    RunError,
    UnknownNameError,
    UnsupportedModelError,
)
from pruning_core.loading.names import WEIGHTS, split_name
from pruning_core.planning.recipe import Recipe
from pruning_core.runs.store import Store, read_spec

DEFAULT_MODEL: Final = "bundled:lenet_300_100"
_RECIPE: Final = "recipe"
_HISTORY: Final = "_history"
_LAYER: Final = "layer"
_RUN: Final = "run"
_DEVICE: Final = "_device"
_EVENT_FILES: Final = "_event_files"
_COMPARED: Final = "_compared"
COMPARED: Final = ("runs", "pair", "axes")
"""What the Compare page remembers, as in its address."""
_VIEW: Final = "shown_view"
_GOOD: Final = "_good_recipe"
_SHOWN: Final = "_shown_values"
PAGE: Final = "_page"
_MESSAGE: Final = "_message"
_PARTS: Final = "_parts"
_DRAWN: Final = "_drawn_recipe"
_REDUCED: Final = "_reduced"
_HAS_MESSAGE: Final = "_has_message"
_OF_LAYERS: Final = frozenset({"layers", "pins", "picks"})
_OF_AMOUNT: Final = frozenset({"target"})
_NO_PARTS: Final[tuple[tuple[str, ...], tuple[str, ...]]] = ((), ())
_LONGEST: Final = 512
_LONGEST_COMPARED: Final = 1200
_NAME: Final = re.compile(r"\w[\w.-]*")  # never a folder
_STEPS: Final = 200
_OPENED: Final = "_opened_models"
_MOST_OPENED: Final = 8


@dataclass(slots=True)
class History:
    """The recipes before this one and those that were undone, the nearest last."""

    past: list[Recipe] = field(default_factory=list)
    future: list[Recipe] = field(default_factory=list)


@dataclass(slots=True)
class Drawn:
    """The recipe that is on the page; it can be read outside of a run of the page.

    Attributes:
        recipe: None before anything was drawn.
    """

    recipe: Recipe | None = None


class Bound(TypedDict):
    """The arguments that tie a widget to the recipe."""

    key: str
    on_change: Callable[[], None]


def open_session() -> None:
    """Make sure there is a recipe; a new session takes it from the address."""
    parameters = st.query_params
    if _RECIPE not in st.session_state:
        run = parameters.get("run", "")[:64]
        st.session_state[_RECIPE] = fresh(models()[0])
        st.session_state[_HISTORY] = History()
        try:
            st.session_state[_RECIPE] = _opened(parameters.get("plan", ""), run)
        except PruningError as error:
            st.session_state[_MESSAGE] = str(error)
        st.session_state[_LAYER] = parameters.get("layer", "")[:_LONGEST]
        st.session_state[_RUN] = run
        st.session_state[_VIEW] = parameters.get("view", "")[:64]
        st.session_state[_COMPARED] = {
            name: parameters.get(name, "")[:_LONGEST_COMPARED] for name in COMPARED
        }


def models() -> list[str]:
    """Return the models the pages offer; the first is open when a session starts.

    Raises:
        PruningError: If the server was started with options that cannot be read.
    """
    own = starter.offer().models
    bundled = [card.identity for card in cache.cards() if card.identity not in own]
    return [*own, *sorted(bundled, key=lambda identity: identity != DEFAULT_MODEL)]


def fresh(identity: str) -> Recipe:
    """Return the recipe a model starts with."""
    return starter.offer().recipe(identity)


def check_offered(identity: str) -> None:
    """Refuse what is not offered and would run code or read a folder of the server.

    Raises:
        UnknownNameError: With the models that are offered.
        UnsupportedModelError: If loading would run code.
    """
    if identity in models():
        return
    from pruning_core.loading.providers import PROVIDERS

    prefix, _, name = identity.partition(":")
    if prefix == WEIGHTS:
        _check_upload(name)
        return
    if prefix not in PROVIDERS or not (PROVIDERS[prefix].runs_code or _NAME.fullmatch(name)):
        raise UnknownNameError("model on these pages", identity, models())
    if PROVIDERS[prefix].runs_code:
        raise UnsupportedModelError(
            f"No model on these pages is called '{identity[:60]}', and models called "
            f"'{PROVIDERS[prefix].usage}' run code when they are loaded: only whoever starts the "
            "server can offer one (--model)."
        )


def _check_upload(name: str) -> None:
    """Refuse weights that are no upload: a page never reads a file that an address names."""
    from pruning_core.loading.intake.store import find

    reference, architecture = split_name(name)
    find(reference)
    if architecture:
        check_offered(architecture)


def _check_data(key: str | None) -> None:
    """Refuse data that would run code or read a file of the server, unless they are offered."""
    if key is None or key == starter.offer().data or key in cache.registry("datasets"):
        return
    from pruning_core.loading.own_data import UPLOADED, load_own

    if not key.startswith(UPLOADED):
        raise UnknownNameError("data set on these pages", key, cache.registry("datasets"))
    load_own(key)


def openable(found: Recipe) -> Recipe:
    """Return a recipe from outside as these pages carry it out.

    Raises:
        PruningError: If they cannot: the model is not offered or cannot be loaded, or the recipe is
            for inputs of another shape than the pages give it.
    """
    check_offered(found.model)
    _check_data(found.data)
    if found.input_shape is None:
        return found.replace(input_shape=fresh(found.model).input_shape)
    shapes = [tuple(tensor.shape[1:]) for tensor in cache.model(found.model).example_inputs]
    if found.input_shape not in shapes:
        raise InvalidRecipeError(
            f"The recipe is for inputs of shape {found.input_shape}; '{found.model}' has "
            f"{' and '.join(map(str, shapes))} on these pages. Carry it out with python -m "
            "pruning_core run."
        )
    return found


def _opened(word: str, run: str) -> Recipe:
    """Return the recipe that the address asks for: its plan, its run's, or its model's."""
    if word:
        return openable(link.decode(word))
    identity = st.query_params.get("model", models()[0])[:_LONGEST]
    try:
        check_offered(identity)
        if identity not in models():
            cache.model(identity)
    except UnknownNameError as error:
        raise PruningError(
            f"{error} Others run from the command line and Python, or are offered here by whoever "
            "starts the server (--model)."
        ) from None
    return _recipe_of(run, identity) or fresh(identity)


def _recipe_of(run: str, identity: str) -> Recipe | None:
    """Return the recipe of a run of this model, so that a reload finds the plan; else None."""
    if not run:
        return None
    try:
        found = read_spec(Store().folder(run) / "spec.json").recipe
    except RunError:
        return None  # the Run page says what is wrong with it
    return found if found.model == identity else None


def recipe() -> Recipe:
    """Return the current recipe."""
    current: Recipe = st.session_state[_RECIPE]
    return current


def history() -> History:
    """Return the steps that can be undone and done again."""
    found: History = st.session_state[_HISTORY]
    return found


def set_recipe(changed: Recipe) -> None:
    """Make ``changed`` the recipe, as a step that can be undone."""
    steps, before = history(), recipe()
    if changed != before:
        _exchange(changed, before)
        steps.past = [*steps.past, before][-_STEPS:]
        steps.future = []


def undo() -> None:
    """Go back one step; nothing happens at the first."""
    steps, before = history(), recipe()
    if steps.past:
        _exchange(steps.past[-1], before)
        steps.past.pop()
        steps.future.append(before)


def redo() -> None:
    """Do the step again that was undone last; nothing happens without one."""
    steps, before = history(), recipe()
    if steps.future:
        _exchange(steps.future[-1], before)
        steps.future.pop()
        steps.past.append(before)


def _exchange(changed: Recipe, before: Recipe) -> None:
    """Make ``changed`` the recipe; a layer that it does not know is no longer selected.

    Streamlit may end a run where its state is used. So the recipe is written in one step, the last:
    what comes after it, in the history, is done too, or nothing is.
    """
    if changed.model != before.model or changed.granularity != before.granularity:
        st.session_state[_LAYER] = ""
    st.session_state[_RECIPE] = changed


def keep_recipe() -> None:
    """Remember that the current recipe can be carried out; :func:`go_back` returns to it."""
    st.session_state[_GOOD] = recipe()


def go_back(problem: str) -> bool:
    """Return to the last recipe that could be carried out and say why; False when there is none."""
    good = st.session_state.get(_GOOD) or fresh(DEFAULT_MODEL)
    st.session_state[_MESSAGE] = problem
    steps, before = history(), recipe()
    st.session_state[_RECIPE] = good
    if steps.past and steps.past[-1] == good:
        steps.past.pop()
    return bool(good != before)


def opened() -> list[str]:
    """Return the models that this session opened besides those the pages offer."""
    found: list[str] = st.session_state.setdefault(_OPENED, [])
    return found


def choose_model(identity: str) -> None:
    """Start over with the model ``identity``."""
    if identity not in models() and identity not in opened():
        st.session_state[_OPENED] = [*opened(), identity][-_MOST_OPENED:]
    if identity != recipe().model:
        set_recipe(fresh(identity))


def layer(known: tuple[str, ...]) -> str:
    """Return the selected layer; the first of ``known`` when none of them is selected."""
    selected = str(st.session_state.get(_LAYER, ""))
    return selected if selected in known else (known[0] if known else "")


def start_over() -> None:
    """Go back to the recipe the model starts with."""
    set_recipe(fresh(recipe().model))


def select_layer(name: str) -> None:
    """Select the layer ``name``."""
    st.session_state[_LAYER] = name


def view(known: tuple[str, ...]) -> str:
    """Return the view of the Plan page that is shown; the first unless one of ``known`` is."""
    chosen = str(st.session_state.get(_VIEW, ""))
    return chosen if chosen in known else known[0]


def choose_view(key: str) -> None:
    """Show the view ``key``."""
    st.session_state[_VIEW] = key


def run_id() -> str:
    """Return the run that is shown; empty when none is."""
    return str(st.session_state.get(_RUN, ""))


def show_run(identifier: str) -> None:
    """Show the run ``identifier``; empty shows none."""
    st.session_state[_RUN] = identifier


def compared(name: str) -> tuple[str, ...]:
    """Return what the Compare page shows: one of ``COMPARED`` as words; empty when not chosen."""
    words: dict[str, str] = st.session_state.get(_COMPARED, {})
    return tuple(word for word in words.get(name, "").split(",") if word)


def set_compared(name: str, words: Iterable[str]) -> None:
    """Let the Compare page show something else."""
    known = st.session_state.get(_COMPARED, {})
    st.session_state[_COMPARED] = known | {name: ",".join(words)}


def device() -> str:
    """Return where runs started here compute; empty leaves it to the server."""
    return str(st.session_state.get(_DEVICE, ""))


def choose_device(name: str) -> None:
    """Let runs started from now on compute on the device ``name``."""
    st.session_state[_DEVICE] = name


def event_files() -> bool:
    """Tell whether runs started here write TensorBoard event files."""
    return bool(st.session_state.get(_EVENT_FILES, False))


def choose_event_files(wanted: bool) -> None:
    """Let runs started from now on write TensorBoard event files, or not."""
    st.session_state[_EVENT_FILES] = wanted


def shown_run_differs() -> bool:
    """Tell whether a page shows a run whose recipe is not the current one."""
    if page() not in {"run", "export"} or not run_id():
        return False
    try:
        return Store().get(run_id()).fingerprint != recipe().fingerprint
    except RunError:
        return False


def bound(
    key: str, value: Any, write: Callable[[Any], None], *, may_be_empty: bool = False
) -> Bound:
    """Tie a widget to ``value``: it shows the value and hands a change to ``write``.

    An error that ``write`` raises is shown at the top of the page, and the widget goes back to the
    value of the recipe; so does a field that was emptied, unless empty is a value there.

    A widget whose value is changed by anything but itself is replaced by a new one. The browser
    sends the values of all its widgets with whatever the person does next; until it has drawn the
    new value that is the one before, which would be taken for the person's own wish.
    """
    shown = st.session_state.setdefault(_SHOWN, {})
    revision = shown.get(key, 0)
    present = f"{key}.{revision}"
    if present not in st.session_state or st.session_state[present] != value:
        shown[key] = revision = revision + 1
        present = f"{key}.{revision}"
    st.session_state[present] = value

    def commit() -> None:
        is_void = st.session_state[_SHOWN][key] != revision
        if not is_void and (st.session_state[present] is not None or may_be_empty):
            attempt(lambda: write(st.session_state[present]))

    return {"key": present, "on_change": commit}


def attempt(action: Callable[[], None]) -> None:
    """Carry out ``action``, for use in callbacks: an error becomes a message on the page.

    Where the page can, only what shows single layers, or the global amount too, is drawn anew
    unless the action changed more.
    """
    before = recipe()
    try:
        action()
    except Exception as error:  # the next run of the page shows it
        st.session_state[_MESSAGE] = problems.sentence(error)
    parts, amount = st.session_state.get(_PARTS, _NO_PARTS)
    speaks = st.session_state.get(_MESSAGE) or st.session_state.get(_HAS_MESSAGE)
    changed = before.changed(recipe())
    if not changed <= _OF_LAYERS:
        parts = (*parts, *amount) if parts and changed <= _OF_LAYERS | _OF_AMOUNT else ()
    # Said in any case: a widget in a part of the page would draw that part alone.
    st.rerun(parts if parts and not speaks else "app")


def can_redraw(parts: tuple[str, ...], amount: tuple[str, ...]) -> None:
    """Say that the page is drawn to its end, and has fragments to draw anew alone.

    Args:
        parts: Those that show single layers.
        amount: Those that show the global amount besides. What the page draws outside of all these
            may depend on neither.
    """
    st.session_state[_PARTS] = (parts, amount)


def redraw(*wanted: str) -> None:
    """Draw these parts anew, of those that the page has; the whole page where it has none."""
    known = sum(st.session_state.get(_PARTS, _NO_PARTS), ())
    st.rerun(tuple(part for part in wanted if part in known) or "app")


def drawn() -> Drawn:
    """Say that the current recipe is being drawn, and return where that can be read."""
    found: Drawn = st.session_state.setdefault(_DRAWN, Drawn())
    found.recipe = recipe()
    return found


def keep_in_step() -> None:
    """Draw the whole page anew when this part alone is drawn for another recipe than the rest."""
    found: Drawn | None = st.session_state.get(_DRAWN)
    if found is None or found.recipe != recipe():
        st.rerun()


def begin_page() -> None:
    """Say that a page is drawn from its beginning."""
    st.session_state[_PARTS] = _NO_PARTS


def take_message() -> str:
    """Return the message of the last callback once; empty when there is none."""
    message = str(st.session_state.pop(_MESSAGE, ""))
    st.session_state[_HAS_MESSAGE] = bool(message)
    return message


def is_reduced() -> bool:
    """Tell whether a link asked for pages without menus and tools; it holds for the session."""
    asked = st.query_params.get("reduced")
    if asked is not None:
        st.session_state[_REDUCED] = asked == "1"
    return bool(st.session_state.get(_REDUCED))


def is_left_out(part: str) -> bool:
    """Tell whether the link leaves a part of the page out, for a class: ``hide=part,part``."""
    return part in st.query_params.get("hide", "")[:_LONGEST].split(",")


def page() -> str:
    """Return the page that is shown, as in its address."""
    return str(st.session_state.get(PAGE, ""))


def address() -> dict[str, str]:
    """Return what the address of the page should say, so that a reload or a link finds it again."""
    layer_name = str(st.session_state.get(_LAYER, ""))
    return {
        "model": recipe().model,
        "plan": link.encode(recipe()),
        "layer": layer_name,
        "run": run_id(),
        "view": str(st.session_state.get(_VIEW, "")),
    } | {name: ",".join(compared(name)) if page() == "compare" else "" for name in COMPARED}
