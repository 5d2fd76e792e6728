"""The log of a run: one JSON object a line, appended by its worker, read by any page."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

Entry = Mapping[str, Any]


class Log:
    """The open log of one attempt; every line is whole once :meth:`add` returns."""

    def __init__(self, path: Path, attempt: int) -> None:
        """Open ``path`` for appending; a line that a killed writer left unfinished is closed."""
        cut = path.exists() and not path.read_bytes().endswith(b"\n")
        self._file = path.open("a", encoding="utf-8")
        self._attempt = attempt
        if cut:
            self._file.write("\n")

    def __enter__(self) -> "Log":
        """Return the log itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._file.close()

    def add(self, kind: str, **values: Any) -> None:
        """Append one entry; it survives the death of this process.

        Args:
            kind: ``stage``, ``batch``, ``epoch``, ``evaluation``, ``preview``, ``round``, ``note``
                or ``error``.
            values: JSON values; the time and the attempt are added.
        """
        entry = {"time": time.time(), "attempt": self._attempt, "kind": kind, **values}
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()


def read_log(path: Path) -> tuple[Entry, ...]:
    """Return the whole entries of a log, the oldest first; none when there is no file yet."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return ()
    entries = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the line a killed worker was writing
        if isinstance(entry, dict) and "kind" in entry:
            entries.append(entry)
    return tuple(entries)
