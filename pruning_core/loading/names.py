"""What an identity of a model consists of; needs no PyTorch."""

import re
from typing import Final

WEIGHTS: Final = "weights"
_INTO: Final = re.compile(r"^(?P<file>.+?)@(?P<architecture>[a-z]\w*:.+)$")


def split_name(name: str) -> tuple[str, str]:
    """Return the file and the architecture (empty if there is none) of ``FILE@ARCHITECTURE``."""
    found = _INTO.match(name)
    return (found["file"], found["architecture"]) if found else (name, "")


def architecture_of(identity: str) -> str:
    """Return the identity whose loading decides what code runs: of weights, their architecture."""
    prefix, _, name = identity.partition(":")
    return (split_name(name)[1] or identity) if prefix == WEIGHTS else identity
