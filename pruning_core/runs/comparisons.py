"""Comparisons of two networks of finished runs, kept on disk: runs do not change any more."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pruning_core.comparing.compare import VERSION, Side
from pruning_core.comparing.variant import Stage
from pruning_core.exporting.document import plain
from pruning_core.folders import state_folder
from pruning_core.runs import atomic
from pruning_core.runs.store import Store

_MOST_KEPT: Final = 200


@dataclass(frozen=True, slots=True)
class Member:
    """One network of one run: see :class:`pruning_core.comparing.compare.Side`."""

    run: str
    stage: Stage


@dataclass(frozen=True, slots=True)
class Pair:
    """Two networks, in the order in which they are compared."""

    first: Member
    second: Member

    def sides(self, store: Store) -> tuple[Side, Side]:
        """Return where their files lie.

        Raises:
            RunError: If one of the runs is none of ours.
        """
        first, second = (
            Side(store.folder(one.run) / "export", one.stage) for one in (self.first, self.second)
        )
        return first, second

    @property
    def path(self) -> Path:
        """Where the comparison is kept."""
        text = json.dumps([VERSION, asdict(self)], sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:32]
        return state_folder() / "comparisons" / f"{name}.json"


def save(pair: Pair, found: dict[str, Any]) -> None:
    """Keep a comparison; the oldest leave when there are more than 200.

    Raises:
        OSError: If the disk refuses.
    """
    folder = pair.path.parent
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(pair.path, json.dumps(plain(found), allow_nan=False).encode())
    kept = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in kept[_MOST_KEPT:]:
        old.unlink(missing_ok=True)


def read(pair: Pair) -> dict[str, Any] | None:
    """Return a comparison that was kept; None when there is none."""
    try:
        found: dict[str, Any] = json.loads(pair.path.read_bytes())
    except (OSError, ValueError):
        return None
    return found
