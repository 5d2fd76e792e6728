"""What a page says about an error."""

import logging
import secrets
from typing import Final

from pruning_core.errors import PruningError

_LOG: Final = logging.getLogger("pruning_studio")


def sentence(error: Exception) -> str:
    """Return what the page says about ``error``.

    A PruningError speaks for itself. Of any other error the page says only an id; what happened is
    in the server's log under the same id.
    """
    if isinstance(error, PruningError):
        return str(error)
    identifier = secrets.token_hex(4)
    _LOG.error("Error %s", identifier, exc_info=error)
    return (
        f"Something went wrong in Pruning Studio (error {identifier}). The server's log says what; "
        "your settings are kept."
    )
