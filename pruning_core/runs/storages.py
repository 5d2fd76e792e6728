"""Databases that searches and scans share: opened by URL, refused with a sentence."""

import logging
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, Literal

from pruning_core.errors import RunError, first_line

if TYPE_CHECKING:
    import optuna

Direction = Literal["minimize", "maximize"]
_log: Final = logging.getLogger("pruning_core.runs.storages")
_OPENINGS: Final = 4
_EXAMPLES: Final = "sqlite:///shared.sqlite3 or postgresql://user@host/name"


def open_study(storage: str, name: str, directions: Sequence[Direction]) -> "optuna.Study":
    """Open a study of Optuna, or make it.

    Args:
        storage: URL of a database.
        name: Of the study.
        directions: ``maximize`` or ``minimize`` for each value.

    Raises:
        RunError: If the storage cannot be used.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for attempt in range(_OPENINGS):
        try:
            return optuna.create_study(
                storage=storage, study_name=name, load_if_exists=True, directions=[*directions]
            )
        except Exception as error:  # also when another worker makes the tables just now
            if attempt == _OPENINGS - 1 or _is_hopeless(error):
                _log.info("the storage cannot be used", exc_info=error)
                raise RunError(_sentence(storage, error)) from None
            time.sleep(0.3 * (attempt + 1))
    raise AssertionError("every attempt returns or raises")


def _is_hopeless(error: BaseException) -> bool:
    return bool({"ImportError", "NoSuchModuleError", "ArgumentError"} & _kinds(error))


def _sentence(storage: str, error: BaseException) -> str:
    shown, kinds = _shown(storage), _kinds(error)
    if "ArgumentError" in kinds:
        return f"'{shown}' is no URL of a database. Give one such as {_EXAMPLES} (--storage)."
    if "NoSuchModuleError" in kinds:
        return (
            f"The storage of the search '{shown}' names no kind of database that is known. Give a "
            f"URL such as {_EXAMPLES} (--storage)."
        )
    if kinds & {"ImportError", "ModuleNotFoundError"}:
        return (
            f"The storage '{shown}' needs a driver for its database that is not installed. Install "
            "the one for PostgreSQL with: python -m pip install -r requirements-cluster.txt"
        )
    return (
        f"The storage of the search '{shown}' cannot be used: {first_line(_innermost(error))}. See "
        f"that the database runs and lets you in, or give another URL, such as {_EXAMPLES}."
    )


def _shown(storage: str) -> str:
    """Return a URL without its password."""
    import sqlalchemy

    try:
        return sqlalchemy.make_url(storage).render_as_string(hide_password=True)[:120]
    except sqlalchemy.exc.ArgumentError:
        return storage[:60]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _kinds(error: BaseException) -> set[str]:
    return {type(one).__name__ for one in _chain(error)}


def _innermost(error: BaseException) -> BaseException:
    *_, last = _chain(error)
    return last
