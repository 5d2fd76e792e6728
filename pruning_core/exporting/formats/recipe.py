"""The recipe as JSON: the small file that repeats the run."""

from pathlib import Path

from pruning_core.exporting.exporter import exporter
from pruning_core.exporting.result import RunResult
from pruning_core.exporting.writing import write_text


@exporter(
    "recipe",
    title="Recipe (JSON)",
    file_name="recipe.json",
    media_type="application/json",
    description="What was asked for, without weights; running it again gives the same masks.",
)
def write_recipe(result: RunResult, path: Path) -> RunResult:
    """Write the recipe that ``Recipe.from_json`` reads back to an equal one."""
    write_text(path, result.recipe.to_json())
    return result
