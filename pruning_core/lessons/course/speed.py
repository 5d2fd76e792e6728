"""Where speed is lost: the time of every layer beside its work, and what fewer channels bring."""

from collections.abc import Generator, Sequence
from math import log10
from typing import Any, TypeVar

from pruning_core.figures.teaching import Series
from pruning_core.lessons import lab, pictures
from pruning_core.lessons.lesson import (
    LESSONS,
    Check,
    Choice,
    Facts,
    Lesson,
    Measuring,
    Number,
    Picture,
    Scene,
)
from pruning_core.planning.recipe import Count, LayerTarget, Recipe

Result = TypeVar("Result")

_MODEL = "bundled:resnet_8"
_FORMS = ("dense", "odd", "half")
_PARTS = ("convolution", "full", "norm", "rest")
_KINDS = {"Conv2d": "convolution", "Linear": "full", "BatchNorm2d": "norm"}
_VERDICTS = ("faster", "slower", "no measurable gain")
_BATCH = 32
_LAYER_SECONDS, _PAIR_SECONDS = 2.0, 3.0
_FIRST = "conv1"


def _planned(form: str) -> Recipe:
    """Half of the channels of every layer go, or one fewer: 16, 32 and 64 leave 9, 17 and 33."""
    layers: dict[str, LayerTarget] = {}
    if form != "dense":
        for group in lab.subject(_MODEL).network.groups:
            layers[group.name] = Count(value=group.n_units // 2 - (form == "odd"))
    return Recipe(model=_MODEL, granularity="unit", layers=layers)


def _between(
    steps: Generator[float, None, Result], low: float, high: float, text: str
) -> Generator[tuple[float, str], None, Result]:
    """Pass the progress of a measurement on as a part of the whole."""
    while True:
        try:
            yield low + (high - low) * next(steps), text
        except StopIteration as end:
            found: Result = end.value
            return found


def _measure() -> Measuring:
    from pruning_core.evaluation.latency import compare, layer_times
    from pruning_core.tracing.trace import trace

    own = lab.subject(_MODEL)
    modules: dict[str, Any] = {}
    forms: dict[str, dict[str, Any]] = {}
    for place, form in enumerate(_FORMS):
        modules[form] = lab.pruned(_planned(form)).module
        network = trace(modules[form], own.model.inputs)
        steps = layer_times(network, batch_size=_BATCH, seconds=_LAYER_SECONDS)
        times, between = yield from _between(steps, 0.18 * place, 0.18 * (place + 1), form)
        layers = [layer for layer in network.layers if layer.kind in _KINDS]
        forms[form] = {
            "layers": [layer.name for layer in layers],
            "parts": [_KINDS[layer.kind] for layer in layers],
            "macs": [layer.macs for layer in layers],
            "ms": [times[layer.name].median_ms for layer in layers],
            "spread": [[times[one.name].low_ms, times[one.name].high_ms] for one in layers],
            "between": between.median_ms,
            "all_macs": sum(layer.macs for layer in network.layers),
        }
    pairs = {}
    for place, before in enumerate(("dense", "odd")):
        steps_of_pair = compare(
            modules[before],
            modules["half"],
            own.model.inputs,
            batch_size=_BATCH,
            seconds=_PAIR_SECONDS,
        )
        low = 0.54 + 0.23 * place
        pairs[before] = yield from _between(steps_of_pair, low, low + 0.23, f"{before} / half")
    macs = {form: forms[form]["all_macs"] for form in _FORMS}
    found: dict[str, object] = {
        "forms": forms,
        "batch": _BATCH,
        "threads": pairs["dense"].threads,
        "n": pairs["dense"].n,
        "half_macs": macs["dense"] / macs["half"],
        "odd_macs": macs["odd"] / macs["half"],
        "odd_saved": 100 * (1 - macs["half"] / macs["odd"]),
    }
    for name, pair in (("half", pairs["dense"]), ("odd", pairs["odd"])):
        found |= {
            f"{name}_speed": pair.ratio,
            f"{name}_low": pair.ratio_low,
            f"{name}_high": pair.ratio_high,
            f"{name}_verdict": pair.verdict,
        }
    return found


def _act(facts: Facts, value: str) -> Facts:
    own = facts["forms"][value]
    # the sum of medians: a pass that was interrupted must not make one part look large
    whole, macs = sum(own["ms"]) + own["between"], own["all_macs"]
    shares = dict.fromkeys(_PARTS, 0.0)
    work = dict.fromkeys(_PARTS, 0.0)
    for part, ms, one in zip(own["parts"], own["ms"], own["macs"], strict=True):
        shares[part] += 100 * ms / whole
        work[part] += 100 * one / macs
    shares["rest"] = 100 * own["between"] / whole
    first = own["layers"].index(_FIRST)
    return {
        "form": value,
        "ms": whole,
        "shares": shares,
        "work": work,
        "norm_share": shares["norm"],
        "rest_share": shares["rest"],
        "idle": shares["norm"] + shares["rest"],
        "first_macs": 100 * own["macs"][first] / macs,
        "first_time": 100 * own["ms"][first] / whole,
    }


def _layers(scene: Scene) -> Picture:
    """Draw the time of each layer against its multiply-accumulates."""
    from pruning_core.figures import teaching
    from pruning_core.figures.canvas import Caption

    words, own = scene.words, scene.facts["forms"][scene.value]
    millions = [macs / 1e6 for macs in own["macs"]]
    series = []
    for part, look in (("convolution", 0), ("full", 3), ("norm", 1)):
        places = [place for place, one in enumerate(own["parts"]) if one == part]
        series.append(
            Series(
                words(f"pictures.{part}"),
                [own["ms"][place] for place in places],
                [millions[place] for place in places],
                look,
                spread=[tuple(own["spread"][place]) for place in places],
                labels=[own["layers"][place] for place in places] if part == "convolution" else (),
            )
        )
    worked = sum(ms for ms, macs in zip(own["ms"], millions, strict=True) if macs)
    end = max(millions)
    along = [end * place / 40 for place in range(1, 41)]
    slope = worked / sum(millions)
    line = Series(words("pictures.layers.line"), [slope * one for one in along], along, look=2)
    x, y = words("pictures.layers.x"), words("pictures.layers.y")
    caption = Caption(
        words("pictures.layers.finding", **pictures.numbers_of(scene)),
        words("pictures.layers.subject"),
    )
    lowest = min(low for low, _ in own["spread"]) / 1.5
    highest = max(high for _, high in own["spread"]) * 1.3
    axes = teaching.Axes(
        x, y, (-0.12 * end, 1.3 * end), (log10(lowest), log10(highest)), log_y=True
    )
    figure = teaching.points(series, axes, caption, scene.colours, line=line)
    table = {
        words("pictures.layers.layer"): own["layers"],
        x: millions,
        y: own["ms"],
        words("pictures.layers.low"): [low for low, _ in own["spread"]],
        words("pictures.layers.high"): [high for _, high in own["spread"]],
    }
    return Picture("layers", figure, table)


def _pictures(scene: Scene) -> Sequence[Picture]:
    words, facts = scene.words, scene.facts
    found = [_layers(scene)]
    if not scene.revealed:
        return found
    told = {verdict: words(f"pictures.verdict.{verdict.split()[0]}") for verdict in _VERDICTS}
    labels = [
        words(f"pictures.speed.{form}_{what}")
        for form in ("half", "odd")
        for what in ("speed", "macs")
    ]
    values = [facts[f"{form}_{what}"] for form in ("half", "odd") for what in ("speed", "macs")]
    spread = []
    for form in ("half", "odd"):
        spread += [(facts[f"{form}_low"], facts[f"{form}_high"]), (facts[f"{form}_macs"],) * 2]
    own = {
        **facts,
        "half_told": told[facts["half_verdict"]],
        "odd_told": told[facts["odd_verdict"]],
    }
    speed = pictures.bars(
        Scene(own, scene.value, scene.guess, True, words, scene.colours),
        "speed",
        labels,
        [Series(words("pictures.speed.x"), values, spread=spread)],
        form=".2f",
        guess=[scene.guess],
    )
    ends = {
        words(f"pictures.speed.{end}"): [pair[place] for pair in spread]
        for place, end in enumerate(("low", "high"))
    }
    shares = pictures.bars(
        scene,
        "shares",
        [words(f"pictures.{part}") for part in _PARTS],
        [
            Series(words("pictures.shares.macs"), list(facts["work"].values()), look=2),
            Series(words("pictures.shares.time"), list(facts["shares"].values()), look=0),
        ],
        x_range=(0, 115),
    )
    return [Picture(speed.name, speed.figure, {**speed.table, **ends}), shares, *found]


def _recipe(facts: Facts) -> Recipe:
    return _planned(facts["form"])


LESSONS.add(
    "speed",
    Lesson(
        key="speed",
        chapter="practice",
        place=200,
        sources=(
            "Williams et al. 2009, doi:10.1145/1498765.1498785",
            "Ma et al. 2018, arXiv:1807.11164",
            "MIT 6.5940, Lab 1, question 8",
        ),
        guess=Number(low=0.5, high=6, step=0.1, start=1, near=0.3),
        do=Choice(_FORMS),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["half_speed"],
        pictures=_pictures,
        check=Check(Number(low=0, high=100, step=1, start=0, near=2), lambda facts: facts["idle"]),
        recipe=_recipe,
        expected=(
            *("half_macs", "half_speed", "half_low", "half_high"),
            *("odd_saved", "odd_speed", "odd_low", "odd_high", "batch"),
        ),
        reached=lambda facts: facts["form"] == "half",
        is_long=True,
        is_timed=True,
    ),
)
