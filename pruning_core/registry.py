"""One generic registry; each kind of plug-in (criterion, data set, exporter) has an instance."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from pruning_core.errors import UnknownNameError

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Names to entries, in the order of registration; a name can be taken only once."""

    def __init__(self, kind: str) -> None:
        """Make an empty registry; ``kind`` is the word used in messages, e.g. ``criterion``."""
        self.kind = kind
        self._entries: dict[str, T] = {}

    def add(self, key: str, entry: T) -> T:
        """Register ``entry`` under ``key`` and return it.

        Raises:
            ValueError: If the key is taken: two plug-ins of one name are a programming error.
        """
        if key in self._entries:
            raise ValueError(f"The {self.kind} '{key}' is registered twice.")
        self._entries[key] = entry
        return entry

    def __getitem__(self, key: str) -> T:
        """Return the entry, or raise an error that lists the known names."""
        try:
            return self._entries[key]
        except KeyError:
            raise UnknownNameError(self.kind, key, self._entries) from None

    def __contains__(self, key: object) -> bool:
        """Tell whether ``key`` is registered."""
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys in the order of registration."""
        return iter(self._entries)

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._entries)


def import_plugins(package: str) -> None:
    """Import every module of ``package`` in name order, so that each registers itself."""
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{info.name}")
