"""``preview RECIPE``: what a recipe would save, exactly and without pruning anything."""

import argparse
from typing import TYPE_CHECKING, Any

from pruning_core.commands.answer import ANSWER_VERSION, Answer
from pruning_core.commands.options import add_recipe_arguments, calibration_of, recipe_of
from pruning_core.commands.tables import encodings_table, layers_table, notes_text, totals_table
from pruning_core.exporting.wording import count, percent, table

if TYPE_CHECKING:
    from pruning_core.granularities import Site
    from pruning_core.planning.recipe import Recipe
    from pruning_core.planning.resolve import Plan
    from pruning_core.preview import Preview

NAME = "preview"
HELP = "show what a recipe would save, before and after, exactly"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add RECIPE and its options."""
    add_recipe_arguments(parser)


def answer(arguments: argparse.Namespace) -> Answer:
    """Resolve the recipe and return its exact savings; no model is changed."""
    recipe = recipe_of(arguments)

    from pruning_core.encodings import file_sizes
    from pruning_core.exporting.document import layer_document, plain, totals_document
    from pruning_core.loading.model import load_model
    from pruning_core.planning.mixed import sites_of
    from pruning_core.planning.resolve import resolve
    from pruning_core.preview import preview
    from pruning_core.scoring.score import score
    from pruning_core.tracing.trace import trace

    model = load_model(recipe.model, input_shape=recipe.input_shape)
    network = trace(model.module, model.inputs)
    plan = resolve(recipe, network, score(model, network, recipe, calibration_of(recipe, model)))
    savings = preview(network, plan)
    sites = sites_of(recipe, network)
    before, after = totals_document(savings.before), totals_document(savings.after)
    notes = _notes(recipe, plan)
    document = {
        "version": ANSWER_VERSION,
        "model": model.identity,
        "recipe_fingerprint": recipe.fingerprint,
        "mask_fingerprint": plan.fingerprint,
        **{key: {"before": before[key], "after": after[key]} for key in before},
        "layers": [layer_document(layer) for layer in savings.layers],
        "sites": [_site(site, plan) for site in sites],
        "notes": {name: list(texts) for name, texts in notes.items()},
        "encodings": file_sizes(network, plan),
    }
    return Answer(plain(document), _text(recipe, plan, savings, sites, document))


def _notes(recipe: "Recipe", plan: "Plan") -> dict[str, tuple[str, ...]]:
    """Return the plan's notes, and that rounds can end with other masks."""
    notes, schedule = dict(plan.notes), recipe.schedule
    if schedule.rounds > 1:
        adaptive = schedule.first_step is not None
        end = "as many in all" if schedule.max_drop is None else "and fewer where accuracy falls"
        notes[""] = (
            *notes.get("", ()),
            f"This is the plan in one shot. A run takes {'up to ' if adaptive else ''}"
            f"{schedule.rounds} rounds and rates again after each, so that it may remove other "
            f"units, {end}.",
        )
    return notes


def _site(site: "Site", plan: "Plan") -> dict[str, Any]:
    return {
        "name": site.name,
        "kind": site.kind,
        "n_units": site.n_units,
        "n_removed": int(plan.n_removed(site.name)),
        "threshold": plan.thresholds.get(site.name),
    }


def _text(
    recipe: "Recipe",
    plan: "Plan",
    savings: "Preview",
    sites: "tuple[Site, ...]",
    document: dict[str, Any],
) -> str:
    units = [
        (
            site.name,
            site.kind,
            count(site.n_units),
            count(int(plan.n_removed(site.name))),
            percent(plan.ratio(site.name)),
        )
        for site in sites
    ]
    ways = " and ".join(
        f"{part.granularity} pruning by '{part.rated_by}' ({part.scope})"
        for part in recipe.parts.values()
    )
    parts = [
        f"{recipe.model}, {ways}",
        totals_table(document),
        layers_table(savings),
        table(("Threshold on", "Kind", "Units", "Removed", "Share"), units, left=2),
        encodings_table(document["encodings"]),
        notes_text(document["notes"]),
        f"Mask fingerprint {plan.fingerprint}",
    ]
    return "\n\n".join(part for part in parts if part)
