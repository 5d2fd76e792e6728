"""Pruning Studio core: load, trace, score, plan, preview, prune, tune, evaluate and export.

The public functions are imported when they are first used, so that ``import pruning_core`` and
``python -m pruning_core --help`` do not wait for PyTorch.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pruning_core.evaluation.evaluate import evaluate
    from pruning_core.exporting.export import export
    from pruning_core.loading.dataset import load_dataset
    from pruning_core.loading.model import load_model
    from pruning_core.planning.recipe import Recipe
    from pruning_core.planning.resolve import resolve
    from pruning_core.preview import preview
    from pruning_core.scoring.score import score
    from pruning_core.surgery.prune import prune
    from pruning_core.tracing.trace import trace
    from pruning_core.tuning.finetune import finetune

__all__ = [
    "Recipe",
    "evaluate",
    "export",
    "finetune",
    "load_dataset",
    "load_model",
    "preview",
    "prune",
    "resolve",
    "score",
    "trace",
]

_HOMES: Final = {
    "Recipe": "pruning_core.planning.recipe",
    "evaluate": "pruning_core.evaluation.evaluate",
    "export": "pruning_core.exporting.export",
    "finetune": "pruning_core.tuning.finetune",
    "load_dataset": "pruning_core.loading.dataset",
    "load_model": "pruning_core.loading.model",
    "preview": "pruning_core.preview",
    "prune": "pruning_core.surgery.prune",
    "resolve": "pruning_core.planning.resolve",
    "score": "pruning_core.scoring.score",
    "trace": "pruning_core.tracing.trace",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'pruning_core' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


class _Package(ModuleType):
    """Keeps the import system from hiding the function ``preview`` behind the module preview.py."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
