"""What every command returns: one answer in two forms."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

ANSWER_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """The same facts for programs and for people.

    Attributes:
        document: JSON-ready; printed with ``--json``.
        text: Tables and sentences; printed otherwise.
    """

    document: Mapping[str, Any]
    text: str


NOTHING: Final = Answer({}, "")
"""What a process says that only helped another one."""
