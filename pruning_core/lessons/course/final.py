"""Before a file is handed out: what is checked; and ten questions answered in the workbench."""

from collections.abc import Callable, Sequence
from typing import Any

from pruning_core.figures.teaching import Series
from pruning_core.lessons import lab, pictures
from pruning_core.lessons.lesson import (
    LESSONS,
    Check,
    Choice,
    Facts,
    HandIn,
    Lesson,
    Measuring,
    Number,
    Picture,
    Scene,
)
from pruning_core.planning.recipe import Budget, Count, Picks, Ratio, Recipe, Tuning

_LENET, _MLP = "bundled:lenet_5", "bundled:lenet_300_100"
_RESNET, _VIT = "bundled:resnet_8", "bundled:vit_tiny"
_RATIOS = ("30", "50", "70")
_SIZES = ("zero", "rounding", "small", "large")
_LIMITS = (0.0, 1e-4, 1e-2)
_N = 500
_HEADS, _HEADS_LOSS = 4, 3.0
_HALF, _LOSS = 50.0, 2.0


def _planned(ratio: float) -> Recipe:
    """The plan of this lesson: the same share of each layer's channels and neurons."""
    return Recipe(
        model=_LENET,
        granularity="unit",
        scope="local",
        target=Ratio(value=ratio / 100),
        tuning=Tuning(epochs=1, learning_rate=1e-3, train_samples=2000),
    )


def _masked(ratio: float) -> Recipe:
    return Recipe(model=_LENET, target=Ratio(value=ratio / 100))


def _ranked(ratio: float) -> Recipe:
    return Recipe(model=_LENET, granularity="unit", target=Ratio(value=ratio / 100))


def _magnitude(difference: float) -> str:
    """Return the word for the size of a difference."""
    return _SIZES[sum(difference > limit for limit in _LIMITS)]


def _measure() -> Measuring:
    table: dict[str, dict[str, Any]] = {}
    for place, ratio in enumerate(_RATIOS):
        yield place / 3, f"{ratio} %"
        recipe = _planned(float(ratio))
        surgery, promised = lab.pruned(recipe), lab.preview(recipe).after
        before = lab.tested(surgery.module, _LENET)
        yield (place + 0.3) / 3, f"{ratio} %"
        (after,) = lab.trained(surgery.module, _LENET, recipe.tuning)
        yield (place + 0.7) / 3, f"{ratio} %"
        found = lab.in_onnx(recipe, surgery)
        table[ratio] = {
            "params": promised.params,
            "found_params": sum(one.numel() for one in surgery.module.parameters()),
            "bytes": promised.n_bytes,
            "found_bytes": lab.n_bytes(recipe, surgery),
            "before": before,
            "after": after,
            "onnx_bytes": found.n_bytes,
            "onnx_accuracy": found.accuracy,
            "worst": found.worst,
            "largest": found.largest,
            "changed": found.changed,
            "torch": found.example[0],
            "onnx": found.example[1],
        }
    fc1 = lab.subject(_MLP).network
    parts = {layer.name: layer.n_params for layer in fc1.layers}
    group = lab.subject(_LENET).network.group("conv2")
    return {
        "table": table,
        "n": len(lab.subject(_LENET).data.test),
        "dense": lab.tested(lab.subject(_LENET).model.module, _LENET),
        "fc1_share": 100 * parts["fc1"] / sum(parts.values()),
        "columns": next(one.per_unit for one in group.members if one.parameter == "fc1.weight"),
        "answer": _magnitude(max(table[ratio]["worst"] for ratio in _RATIOS)),
    }


def _act(facts: Facts, value: str) -> Facts:
    own, ratio = facts["table"][value], float(value)
    masked, kept = lab.preview(_masked(ratio)).after, lab.plan(_ranked(ratio)).keep["conv1"]
    law = (100 - ratio) ** 2 / 100
    return {
        "ratio": ratio,
        **{
            name: own[name]
            for name in (
                *("params", "found_params", "before", "after", "worst", "largest", "changed"),
                "onnx_accuracy",
            )
        },
        "parts": 2**24,
        "kb": own["bytes"] / 1000,
        "found_kb": own["found_bytes"] / 1000,
        "gain": own["after"] - own["before"],
        "size": _magnitude(own["worst"]),
        "stay": round(5 * (100 - ratio)),
        "masked_kb": masked.n_bytes / 1000,
        "masked_zeros": 100 * (1 - masked.nonzero / masked.params),
        "law": law,
        "law_low": law - 3,
        "law_high": law + 3,
        "kept": int(kept.sum()),
        "units": int(kept.size),
        "loss_limit": _LOSS,
        "heads_limit": _HEADS_LOSS,
        "half": _HALF,
        "heads_wanted": _HEADS,
    }


def _pictures(scene: Scene) -> Sequence[Picture]:
    words, own = scene.words, scene.facts["table"][scene.value]
    counted = [
        Series(words("pictures.promised"), [own["params"] / 1000, own["bytes"] / 1000], look=2)
    ]
    labels = [words("pictures.params"), words("pictures.bytes")]
    if not scene.revealed:
        return [pictures.bars(scene, "promise", labels, counted)]
    found = [own["found_params"] / 1000, own["found_bytes"] / 1000]
    counted.append(Series(words("pictures.found"), found, look=0))
    logits = [
        Series("PyTorch", own["torch"], look=2),
        Series("onnxruntime", own["onnx"], look=0),
    ]
    classes = [words("pictures.class", number=number) for number in range(len(own["torch"]))]
    low, high = min(0.0, *own["torch"]), max(0.0, *own["torch"])
    reach = (low - 0.2 * (high - low), high + 0.2 * (high - low))
    return [
        pictures.bars(scene, "logits", classes, logits, form=".4f", x_range=reach),
        pictures.bars(scene, "counted", labels, counted),
    ]


def _judge_threshold(recipe: Recipe, facts: Facts) -> Facts:
    layers = {layer.name: layer for layer in lab.preview(recipe).layers}
    gone = {name: one.before.nonzero - one.after.nonzero for name, one in layers.items()}
    kept, others = 500 - gone.pop("conv1"), sum(gone.values())
    return {"own_kept": kept, "own_others": others, "right": kept == facts["stay"] and not others}


def _judge_square(recipe: Recipe, facts: Facts) -> Facts:
    counted, plan = lab.preview(recipe), lab.plan(recipe)
    left = 100 * counted.after.macs / counted.before.macs
    lost = [plan.ratio(name) for name in plan.keep]
    spread = 100 * (max(lost) - min(lost))
    fits = facts["law_low"] <= left <= facts["law_high"]
    return {"own_macs": left, "own_spread": spread, "right": fits and spread <= _ONE_UNIT}


def _judge_heads(recipe: Recipe, _: Facts) -> Facts:
    network = lab.subject(_VIT).network
    heads = {group.name for group in network.groups if group.kind == "head"}
    plan, counted = lab.plan(recipe), lab.preview(recipe)
    units = plan.unit_keep(network)
    gone, others, start = 0, 0, 0
    for group in network.groups:
        lost = int((~units[start : start + group.n_units]).sum())
        gone, others = (gone + lost, others) if group.name in heads else (gone, others + lost)
        start += group.n_units
    zeros = counted.after.params - counted.after.nonzero
    zeros -= counted.before.params - counted.before.nonzero
    lost_points = lab.dense(_VIT, _N) - lab.right(recipe, _N)
    right = gone == _HEADS and not others and zeros <= 0 and lost_points <= _HEADS_LOSS + 1e-9
    return {"own_heads": gone, "own_others": others, "own_lost": lost_points, "right": right}


def _judge_budget(recipe: Recipe, _: Facts) -> Facts:
    counted = lab.preview(recipe)
    size = 100 * counted.after.n_bytes / counted.before.n_bytes
    lost = lab.dense(_LENET, _N) - lab.right(recipe, _N)
    return {
        "own_size": size,
        "own_lost": lost,
        "right": size <= _HALF and lost <= _LOSS + 1e-9,
    }


def _solved_heads(_: Facts) -> Recipe:
    """The heads that matter least by Taylor scores."""
    recipe = Recipe(model=_VIT, granularity="unit", criterion="taylor")
    heads = [one.name for one in lab.subject(_VIT).network.groups if one.kind == "head"]
    scores = lab.scores(recipe).by_site
    ranked = sorted((float(s), name, h) for name in heads for h, s in enumerate(scores[name]))
    gone = ranked[:_HEADS]
    picks = {
        name: Picks(prune=tuple(h for _, own, h in gone if own == name))
        for name in {own for _, own, _ in gone}
    }
    return recipe.replace(picks=picks)


def _solved_budget(_: Facts) -> Recipe:
    return Recipe(
        model=_LENET,
        granularity="unit",
        pins=("conv1", "conv2"),
        target=Budget(kind="bytes", value=_HALF / 100),
    )


_ONE_UNIT = 6.5
"""Points by which equal ratios may differ: one of sixteen channels."""


def _dense(model: str, granularity: str = "weight") -> Callable[[Facts], Recipe]:
    return lambda _: Recipe(model=model, granularity=granularity)


_OWN: Callable[[Facts], Recipe] = lambda facts: _planned(facts["ratio"])  # noqa: E731
_SHARE = Number(low=0, high=100, step=0.1, start=0, near=1.0)

_QUESTIONS = (
    Check(
        _SHARE,
        lambda facts: facts["fc1_share"],
        key="cost",
        begin=_dense(_MLP, "unit"),
        place=("layer", "fc1"),
        again="cost",
    ),
    Check(
        HandIn(_LENET, _judge_threshold),
        lambda facts: Recipe(model=_LENET, layers={"conv1": Count(value=500 - facts["stay"])}),
        key="threshold",
        begin=_dense(_LENET),
        place=("layer", "conv1"),
        again="threshold",
    ),
    Check(
        Number(low=0, high=4000, step=1, start=0, near=10),
        lambda facts: facts["masked_kb"],
        key="mask",
        begin=_dense(_LENET),
        again="mask_or_cut",
    ),
    Check(
        HandIn(_RESNET, _judge_square),
        lambda facts: Recipe(
            model=_RESNET,
            granularity="unit",
            scope="local",
            target=Ratio(value=facts["ratio"] / 100),
        ),
        key="square",
        begin=_dense(_RESNET, "unit"),
        again="square",
    ),
    Check(
        Number(low=0, high=1000, step=1, start=0, near=0.4),
        lambda facts: facts["columns"],
        key="coupling",
        begin=_dense(_LENET, "unit"),
        place=("layer", "conv2"),
        again="coupling",
    ),
    Check(
        Number(low=0, high=20, step=1, start=0, near=0.4),
        lambda facts: facts["kept"],
        key="scope",
        begin=_dense(_LENET, "unit"),
        again="scope",
    ),
    Check(
        HandIn(_VIT, _judge_heads),
        _solved_heads,
        key="heads",
        begin=_dense(_VIT, "unit"),
        place=("layer", "blocks.3.attention.qkv"),
        again="heads",
    ),
    Check(
        HandIn(_LENET, _judge_budget),
        _solved_budget,
        key="budget",
        begin=_dense(_LENET, "unit"),
        again="budget",
    ),
    Check(
        Number(low=-20, high=100, step=0.1, start=0, near=2.0),
        lambda facts: facts["gain"],
        key="recovery",
        begin=_OWN,
        again="recovery",
    ),
    Check(Choice(_SIZES), lambda facts: facts["size"], key="export", begin=_OWN, again="combining"),
)

LESSONS.add(
    "final",
    Lesson(
        key="final",
        chapter="practice",
        place=250,
        sources=(
            "IEEE 754-2019",
            "Blalock et al. 2020, arXiv:2003.03033",
            "Mitchell et al. 2019, arXiv:1810.03993",
        ),
        guess=Choice(_SIZES),
        do=Choice(_RATIOS, literal=True),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["answer"],
        pictures=_pictures,
        check=_QUESTIONS[0],
        further=_QUESTIONS[1:],
        recipe=lambda facts: _planned(facts["ratio"]),
        expected=("dense", "n", "fc1_share", "columns", "answer"),
        is_long=True,
    ),
)
