"""A text of a stranger as pieces of tokens; runs in the limited child."""

import unicodedata
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pruning_core.loading.intake.contents import RefusedFileError

CONTEXT: Final = 128
"""Tokens of a piece where no model says how many it takes."""
MOST_BYTES: Final = 50_000_000
_LEAST_PIECES: Final = 3
_MOST_CONTEXT: Final = 8192


def read_text(
    path: Path, shape: tuple[int, ...] | None
) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    """Return inputs and targets ``[N, T]`` of a UTF-8 text, and what a reader should know.

    A token is a byte, its number the byte's value. Pieces do not overlap; the target of a place is
    the byte after it. What is left at the end is too short for a piece and is left out.

    Args:
        path: The file.
        shape: Of one input of the model, ``(T,)``; None takes pieces of 128 tokens.

    Raises:
        RefusedFileError: If it is no text in UTF-8, too large or too short, or the model reads no
            tokens.
    """
    if shape is not None and len(shape) != 1:
        raise RefusedFileError(
            f"A text is for models that take tokens, e.g. {[CONTEXT]}; this one takes "
            f"{list(shape)}. Choose a language model."
        )
    length = shape[0] if shape else CONTEXT
    if length > _MOST_CONTEXT:
        raise RefusedFileError(
            f"The model takes {length:,} tokens at a time; at most {_MOST_CONTEXT:,} are cut from "
            "a text. Give a smaller input shape."
        )
    if path.stat().st_size > MOST_BYTES:
        raise RefusedFileError(
            f"The text has {path.stat().st_size / 1e6:,.0f} MB; at most {MOST_BYTES / 1e6:.0f} MB "
            "are read."
        )
    raw = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedFileError(
            f"The file is no text in UTF-8: byte {error.start:,} does not belong to one. Save it "
            "as UTF-8."
        ) from None
    strange = sum(unicodedata.category(c) == "Cc" and c not in "\t\n\r\f" for c in text[:100_000])
    if strange > len(text[:100_000]) / 100:
        raise RefusedFileError(
            "The file is no text: more than one in a hundred characters are control characters."
        )
    tokens = np.frombuffer(raw, np.uint8)
    n_pieces = (len(tokens) - 1) // length
    if n_pieces < _LEAST_PIECES:
        raise RefusedFileError(
            f"The text has {len(tokens):,} bytes; pieces of {length:,} need at least "
            f"{_LEAST_PIECES * length + 1:,}."
        )
    used = n_pieces * length
    notes = [
        f"Tokens are bytes (numbers 0 to 255), in pieces of {length:,}. Perplexity is that of a "
        "byte, and means something for models trained on bytes alone."
    ]
    return (
        tokens[:used].reshape(n_pieces, length),
        tokens[1 : used + 1].reshape(n_pieces, length).astype(np.int64),
        notes,
    )
