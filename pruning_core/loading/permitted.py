"""Models of the person who starts the server: the only ones a page or a worker may run code for."""

import json
import os
from collections.abc import Sequence
from typing import Final

from pruning_core.loading.names import architecture_of

_VARIABLE: Final = "PRUNING_STUDIO_MODELS"


def permit(identities: Sequence[str]) -> None:
    """Allow this process and those it starts to load ``identities``, whatever code they run."""
    os.environ[_VARIABLE] = json.dumps(list(identities))


def may_run(name: str) -> bool:
    """Tell whether ``name`` may run code: a server has said what may; others run what is asked."""
    named = os.environ.get(_VARIABLE)
    return named is None or name in json.loads(named)


def is_permitted(identity: str) -> bool:
    """Tell whether whoever started the server named this model, or its architecture."""
    named = json.loads(os.environ.get(_VARIABLE, "[]"))
    return identity in named or architecture_of(identity) in named
