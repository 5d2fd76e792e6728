"""What an identity of a model consists of; needs no PyTorch."""

import re
from pathlib import Path
from typing import Final

WEIGHTS: Final = "weights"
MOST_VALUES: Final = 200_000_000
"""Weights that plans are made for; larger files are looked at in blocks (``streaming.py``)."""
_FILES: Final = {
    ".pt2": "program",
    **dict.fromkeys((".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".onnx"), WEIGHTS),
}
_PREFIX: Final = re.compile(r"(?:bundled|torchvision|timm|transformers|weights|program|python):")
_INTO: Final = re.compile(r"^(?P<file>.+?)@(?P<architecture>[a-z]\w*:.+)$")


def split_name(name: str) -> tuple[str, str]:
    """Return the file and the architecture (empty if there is none) of ``FILE@ARCHITECTURE``."""
    found = _INTO.match(name)
    return (found["file"], found["architecture"]) if found else (name, "")


def architecture_of(identity: str) -> str:
    """Return the identity whose loading decides what code runs: of weights, their architecture."""
    prefix, _, name = identity.partition(":")
    return (split_name(name)[1] or identity) if prefix == WEIGHTS else identity


def identity_of(text: str) -> str:
    """Return the identity of what a person names on the command line: a file, folder or factory.

    ``net.pt2`` is ``program:net.pt2``, a file of weights ``weights:FILE``, a folder with a
    ``config.json`` ``transformers:FOLDER``; everything else stays as it is.
    """
    name, architecture = split_name(text)
    path = Path(name)
    if not _PREFIX.match(text):
        if path.suffix.lower() in _FILES and path.is_file():
            kind = _FILES[path.suffix.lower()]
            return f"{kind}:{text}" if kind == WEIGHTS or not architecture else text
        if (path / "config.json").is_file():
            return f"transformers:{text if '/' in text else f'./{text}'}"
    return text
