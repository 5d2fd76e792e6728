"""The words of the lessons: a folder a language, a file a lesson, and ``frame`` for the page."""

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from string import Formatter
from typing import Any, Final

LANGUAGES: Final[Mapping[str, str]] = {"en": "English", "zh": "简体中文"}
FRAME: Final = "frame"
_HERE: Final = Path(__file__).parent


class Words:
    """The texts of one file in one language: ``words("why", **numbers)``."""

    def __init__(self, language: str, name: str) -> None:
        """Read the file once.

        Args:
            language: A key of ``LANGUAGES``; any other means English.
            name: Key of a lesson, or ``frame``.
        """
        self.language = language if language in LANGUAGES else "en"
        self._texts = read(self.language, name)

    def __call__(self, key: str, /, **values: Any) -> str:
        """Return a text with ``values`` filled in.

        Raises:
            KeyError: If there is no such text or value; a test sees to that.
        """
        return self._texts[key].format(**values)

    def with_gaps(self, key: str) -> str:
        """Return a text with a gap for each value, for paper."""
        text = self._texts[key]
        names = {part[1] for part in Formatter().parse(text) if part[1]}
        return text.format(**dict.fromkeys(names, _Gap()))

    def __contains__(self, key: str) -> bool:
        return key in self._texts


class _Gap:
    """Stands for any value."""

    def __format__(self, form: str) -> str:
        return "____"


@lru_cache(maxsize=128)
def read(language: str, name: str) -> Mapping[str, str]:
    """Return the texts of a file by dotted key."""
    content = tomllib.loads((_HERE / language / f"{name}.toml").read_text(encoding="utf-8"))
    return dict(_flat(content))


def _flat(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in content.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", " ".join(str(value).split())))
    return found
