"""Plans kept on disk without a run: named snapshots, and plans too long for an address."""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pruning_core.errors import PruningError
from pruning_core.folders import state_folder
from pruning_core.planning.recipe import Recipe
from pruning_core.runs.atomic import write_bytes

MAX_KEPT: Final = 200
MAX_SNAPSHOTS: Final = 200
MAX_NAME: Final = 80
_IDENTIFIER: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A plan with a name.

    Attributes:
        name: Given by a person; unique among the snapshots of one model.
        saved: When, ISO 8601 in UTC.
        recipe: The plan.
    """

    name: str
    saved: str
    recipe: Recipe


class Plans:
    """The plans of one state folder."""

    def __init__(self, folder: Path | None = None) -> None:
        """Use ``folder``; None is the state folder of this server."""
        self._folder = (folder or state_folder()) / "plans"

    def keep(self, recipe: Recipe) -> str:
        """Keep ``recipe`` and return the identifier :meth:`find` takes; old ones leave in time."""
        identifier = recipe.fingerprint[:32]
        path = self._folder / f"{identifier}.json"
        if not path.is_file():
            self._folder.mkdir(parents=True, exist_ok=True)
            write_bytes(path, recipe.to_json().encode())
            for old in self._newest_first("*.json")[MAX_KEPT:]:
                old.unlink(missing_ok=True)
        return identifier

    def find(self, identifier: str) -> Recipe:
        """Return a recipe that was kept.

        Raises:
            PruningError: If there is none.
        """
        path = self._folder / f"{identifier}.json"
        if not _IDENTIFIER.fullmatch(identifier) or not path.is_file():
            raise PruningError(
                "The plan of this address is not kept here: plans too long for an address stay on "
                "the server they were made on. Ask for the recipe file instead."
            )
        return Recipe.from_json(path.read_bytes())

    def save(self, name: str, recipe: Recipe) -> Snapshot:
        """Save ``recipe`` under ``name``; one of the same name and model is replaced.

        Raises:
            PruningError: If the name is empty or too long, or there are too many snapshots.
        """
        wanted = " ".join(name.split())
        if not 0 < len(wanted) <= MAX_NAME:
            raise PruningError(
                f"A snapshot needs a name of 1 to {MAX_NAME} characters; this one has "
                f"{len(wanted)}."
            )
        folder = self._snapshots(recipe.model)
        path = folder / f"{_digest(wanted)}.json"
        if not path.is_file() and len(list(folder.glob("*.json"))) >= MAX_SNAPSHOTS:
            raise PruningError(
                f"This model has {MAX_SNAPSHOTS} snapshots, as many as are kept. Delete one first."
            )
        folder.mkdir(parents=True, exist_ok=True)
        saved = datetime.now(UTC).isoformat(timespec="seconds")
        values = {"name": wanted, "saved": saved, "recipe": recipe.model_dump(mode="json")}
        write_bytes(path, json.dumps(values).encode())
        return Snapshot(wanted, saved, recipe)

    def snapshots(self, model: str) -> tuple[Snapshot, ...]:
        """Return the snapshots of ``model``, the newest first; damaged files are left out."""
        found = []
        for path in self._snapshots(model).glob("*.json"):
            try:
                values = json.loads(path.read_bytes())
                recipe = Recipe.from_json(json.dumps(values["recipe"]))
                found.append(Snapshot(str(values["name"]), str(values["saved"]), recipe))
            except (OSError, ValueError, KeyError, TypeError, PruningError):
                continue
        return tuple(sorted(found, key=lambda snapshot: snapshot.saved, reverse=True))

    def delete(self, model: str, name: str) -> None:
        """Delete the snapshot ``name`` of ``model``; nothing happens when there is none."""
        (self._snapshots(model) / f"{_digest(name)}.json").unlink(missing_ok=True)

    def _snapshots(self, model: str) -> Path:
        return self._folder / "snapshots" / _digest(model)

    def _newest_first(self, pattern: str) -> list[Path]:
        return sorted(
            self._folder.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]
