"""The same layers as a mask and as a cut: what becomes smaller, and what becomes faster."""

from collections.abc import Sequence

from pruning_core.lessons import lab
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
from pruning_core.planning.recipe import LayerTarget, Ratio, Recipe

_MODEL = "bundled:lenet_5"
_BATCH = 32
_SECONDS = 2.0
_FORMS = ("dense", "mask", "cut")
_LAYERS = ("conv1", "conv2", "fc1")
_SHARE = 0.5


def _planned(form: str) -> Recipe:
    """Half of the units of each hidden layer: rows set to zero, or units removed."""
    layers: dict[str, LayerTarget] = {}
    if form != "dense":
        layers = {name: Ratio(value=_SHARE) for name in _LAYERS}
    return Recipe(model=_MODEL, granularity="row" if form == "mask" else "unit", layers=layers)


def _measure() -> Measuring:
    from pruning_core.encodings import zipped
    from pruning_core.evaluation.latency import compare
    from pruning_core.surgery.prune import prune

    own = lab.subject(_MODEL)
    modules, table = {}, {}
    for place, form in enumerate(_FORMS):
        yield 0.1 * place, form
        recipe = _planned(form)
        modules[form] = prune(own.model, own.network, lab.plan(recipe)).module
        after = lab.preview(recipe).after
        table[form] = {
            "params": after.params,
            "nonzero": after.nonzero,
            "macs": after.macs,
            "bytes": after.n_bytes,
            "zip": len(zipped(modules[form].state_dict())),
        }
    times = {}
    for place, form in enumerate(_FORMS[1:]):
        steps = compare(
            own.model.module, modules[form], own.model.inputs, batch_size=_BATCH, seconds=_SECONDS
        )
        while True:
            try:
                yield 0.3 + 0.35 * (place + next(steps)), form
            except StopIteration as end:
                times[form] = end.value
                break
    table["dense"]["ms"] = times["cut"].dense.median_ms
    for form in _FORMS[1:]:
        table[form]["ms"] = times[form].pruned.median_ms
    cut, mask = times["cut"], times["mask"]
    return {
        "table": table,
        "batch": _BATCH,
        "zeros": 100 * (1 - table["mask"]["nonzero"] / table["mask"]["params"]),
        "mask_speed": mask.ratio,
        "mask_low": mask.ratio_low,
        "mask_high": mask.ratio_high,
        "mask_verdict": mask.verdict,
        "cut_speed": cut.ratio,
        "cut_low": cut.ratio_low,
        "cut_high": cut.ratio_high,
        "cut_verdict": cut.verdict,
        "dense_kb": table["dense"]["bytes"] / 1000,
        "mask_kb": table["mask"]["bytes"] / 1000,
        "cut_kb": table["cut"]["bytes"] / 1000,
        "mask_zip_kb": table["mask"]["zip"] / 1000,
        "cut_times": table["dense"]["bytes"] / table["cut"]["bytes"],
        "zip_times": table["dense"]["zip"] / table["mask"]["zip"],
    }


def _act(facts: Facts, value: str) -> Facts:
    shown = facts["table"][value]
    return {"form": value, "shown_kb": shown["bytes"] / 1000, "shown_ms": shown["ms"]}


def _truth(facts: Facts) -> str:
    sizes = {form: facts["table"][form]["bytes"] for form in _FORMS}
    smaller = [form for form in _FORMS[1:] if sizes[form] < 0.98 * sizes["dense"]]
    return {(): "neither", ("mask",): "mask", ("cut",): "cut"}.get(tuple(smaller), "both")


def _pictures(scene: Scene) -> Sequence[Picture]:
    from pruning_core.figures import teaching
    from pruning_core.figures.canvas import Caption

    facts, words = scene.facts, scene.words
    table = facts["table"]
    names = [words(f"pictures.{form}") for form in _FORMS]
    sizes = ("bytes", "zip")
    columns = {
        words("pictures.form"): names,
        **{words(f"pictures.{k}"): [table[form][k] for form in _FORMS] for k in table["dense"]},
    }
    if not scene.revealed:
        picture = teaching.bars(
            [words(f"pictures.{key}") for key in ("params", "nonzero")],
            [
                teaching.Series(
                    words(f"pictures.{form}"),
                    [table[form][key] / 1000 for key in ("params", "nonzero")],
                    look=look,
                )
                for look, form in ((2, "dense"), (1 if scene.value == "mask" else 0, scene.value))
                if look == 2 or scene.value != "dense"
            ],
            teaching.Axes(words("pictures.thousands")),
            Caption(words("pictures.counting"), words("pictures.counts")),
            scene.colours,
        )
        shown = dict(list(columns.items())[:3])
        return [Picture("counts", picture, shown)]
    looks = {"dense": 2, "mask": 1, "cut": 0}
    files = teaching.bars(
        [words(f"pictures.{key}") for key in sizes],
        [
            teaching.Series(
                words(f"pictures.{form}"), [table[form][key] / 1000 for key in sizes], look=look
            )
            for form, look in looks.items()
        ],
        teaching.Axes(words("pictures.kilobytes")),
        Caption(words("pictures.finding", **_numbers(facts)), words("pictures.files")),
        scene.colours,
        form=".0f",
    )
    times = teaching.bars(
        [words("pictures.ms")],
        [
            teaching.Series(words(f"pictures.{form}"), [table[form]["ms"]], look=look)
            for form, look in looks.items()
        ],
        teaching.Axes(words("pictures.milliseconds")),
        Caption(words("pictures.speed", **_numbers(facts)), words("pictures.times")),
        scene.colours,
        form=".2f",
    )
    return [Picture("files", files, columns), Picture("times", times, columns)]


def _numbers(facts: Facts) -> Facts:
    return {k: v for k, v in facts.items() if k != "table"}


def _recipe(facts: Facts) -> Recipe:
    return _planned(facts["form"])


LESSONS.add(
    "mask_or_cut",
    Lesson(
        key="mask_or_cut",
        chapter="why",
        place=40,
        sources=("Han et al. 2016, arXiv:1510.00149", "Li et al. 2017, arXiv:1608.08710"),
        guess=Choice(("mask", "cut", "both", "neither")),
        do=Choice(_FORMS),
        measure=_measure,
        act=_act,
        truth=_truth,
        pictures=_pictures,
        check=Check(
            Number(low=1, high=20, step=0.1, start=1.0, near=0.25),
            lambda facts: facts["cut_times"],
        ),
        recipe=_recipe,
        expected=(
            *("zeros", "dense_kb", "mask_kb", "mask_zip_kb", "cut_kb", "cut_times"),
            *("mask_speed", "cut_speed"),
        ),
        reached=lambda facts: facts["form"] == "cut",
        is_long=True,
        is_timed=True,
    ),
)
