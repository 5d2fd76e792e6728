"""Measurements of lessons on disk: what takes long is computed once, and kept with its date."""

import hashlib
import json
import sys
import time
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pruning_core.folders import state_folder
from pruning_core.lessons.lesson import Facts, Lesson
from pruning_core.runs.atomic import exclusive, write_bytes
from pruning_core.runs.environment import describe_environment

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Record:
    """What was measured for a lesson.

    Attributes:
        facts: Plain data by name.
        seconds: How long it took.
        when: Date and time (UTC, ISO 8601).
        environment: Versions, processor and threads.
    """

    facts: Facts
    seconds: float
    when: str
    environment: Mapping[str, str]


def path_of(lesson: Lesson) -> Path:
    """Return where the measurement of a lesson is kept; another version of its code has another."""
    source = Path(str(sys.modules[lesson.measure.__module__].__file__)).read_bytes()
    digest = hashlib.sha256(source + str(_VERSION).encode()).hexdigest()[:16]
    return state_folder() / "lessons" / f"{lesson.key}-{digest}.json"


def read(path: Path) -> Record | None:
    """Return a measurement; None when there is none, or none that can be read."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Record(**found)
    except (OSError, ValueError, TypeError):
        return None


def carry_out(lesson: Lesson) -> Generator[tuple[float, str], None, Record]:
    """Measure; yields the share that is done and what is going on, returns the record."""
    began = time.perf_counter()
    facts = yield from lesson.measure()
    return Record(
        facts=facts,
        seconds=round(time.perf_counter() - began, 2),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        environment=describe_environment(),
    )


def kept(lesson: Lesson) -> Generator[tuple[float, str], None, Record]:
    """Return the record on disk; measure and keep it when there is none."""
    path = path_of(lesson)
    path.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(path.with_suffix(".lock")):
        known = read(path)
        if known is None:
            known = yield from carry_out(lesson)
            write_bytes(path, to_json(known))
        return known


def to_json(record: Record) -> bytes:
    """Return a record as a file that :func:`read` reads back."""
    return (json.dumps(asdict(record), indent=1, ensure_ascii=False) + "\n").encode()
