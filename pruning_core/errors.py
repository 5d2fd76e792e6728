"""Errors a person can repair. Their text is written for the screen and for stderr."""

from collections.abc import Iterable
from difflib import get_close_matches


def first_line(error: BaseException) -> str:
    """Return the first line of what ``error`` says, at most 160 characters; never empty."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):  # what it announces is on the next
        lines[0] += f" {lines[1]}"
    return lines[0][:160] if lines else type(error).__name__


class PruningError(Exception):
    """Base of all errors a user can repair; says what, the value received and what to do."""


class UnknownNameError(PruningError):
    """A name that is in no registry, with the nearest known name suggested."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        """Write the sentence for ``name``, which is no ``kind`` among ``known``."""
        names = sorted(known)
        shown = name if len(name) <= 60 else name[:57] + "..."
        close = get_close_matches(name[:200], names, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        listed = ", ".join(names[:20]) + (" ..." if len(names) > 20 else "")
        super().__init__(f"No {kind} is called '{shown}'.{hint} Known: {listed or 'none'}.")


class InvalidRecipeError(PruningError):
    """A recipe that cannot be carried out; the text lists every problem found."""


class MissingEvidenceError(PruningError):
    """A criterion needs something (data, gradients) that is not there."""


class UnsupportedModelError(PruningError):
    """A model that cannot be traced, loaded or rebuilt; names the layer or operator."""


class DataError(PruningError):
    """Data that is missing, damaged or does not fit the model."""


class ExportError(PruningError):
    """A file that could not be written or did not pass its check."""


class RunError(PruningError):
    """A run that cannot be queued, found, continued or read."""
