"""The numbers to expect, measured on the bundled models by ``python -m pruning_core lessons``."""

import json
from pathlib import Path
from typing import Any, Final

from pruning_core.lessons.lesson import Lesson

FOLDER: Final = Path(__file__).parent


def expected(lesson: Lesson) -> dict[str, Any] | None:
    """Return facts, seconds, date and environment as they were measured; None when not yet."""
    path = FOLDER / f"{lesson.key}.json"
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
