"""A text of a stranger as pieces of tokens; runs in the limited child."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pruning_core.loading.intake.contents import RefusedFileError, shortened

CONTEXT: Final = 128
"""Tokens of a piece where no model says how many it takes."""
MOST_BYTES: Final = 50_000_000
MOST_TOKENISED: Final = 2_000_000
"""Bytes of a text that a tokeniser divides, which takes seconds and 150 times the memory."""
_SHOWN_PIECES: Final = 4
_SHOWN: Final = 160
_LEAST_PIECES: Final = 3
_MOST_CONTEXT: Final = 8192


@dataclass(frozen=True, slots=True)
class Pieces:
    """A text as pieces of the same length.

    Attributes:
        inputs: Tokens ``[N, T]``.
        targets: The token after each, ``[N, T]``.
        notes: What a reader should know.
        beginnings: Of the first pieces in words; empty where tokens are bytes.
    """

    inputs: NDArray[Any]
    targets: NDArray[np.int64]
    notes: list[str]
    beginnings: tuple[str, ...] = ()


def read_text(path: Path, shape: tuple[int, ...] | None, tokeniser: Path | None = None) -> Pieces:
    """Return a UTF-8 text as pieces of tokens.

    A token is a byte, its number the byte's value, unless a tokeniser divides the text. Pieces do
    not overlap; the target of a place is the token after it. What is left at the end is too short
    for a piece and is left out.

    Args:
        path: The file.
        shape: Of one input of the model, ``(T,)``; None takes pieces of 128 tokens.
        tokeniser: A ``tokenizer.json`` of Hugging Face's tokenizers; marks of beginning and end
            are not added.

    Raises:
        RefusedFileError: If it is no text in UTF-8, too large or too short, the model reads no
            tokens, or the tokeniser cannot be read.
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
    most = MOST_TOKENISED if tokeniser else MOST_BYTES
    if path.stat().st_size > most:
        raise RefusedFileError(
            f"The text has {path.stat().st_size / 1e6:,.1f} MB; at most {most / 1e6:.0f} MB are "
            f"{'divided by a tokeniser' if tokeniser else 'read'}. Give a part of it."
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
    if tokeniser is None:
        tokens: NDArray[Any] = np.frombuffer(raw, np.uint8)
        note = (
            f"Tokens are bytes (numbers 0 to 255), in pieces of {length:,}. Perplexity is that of "
            "a byte, and means something for models trained on bytes alone. Give the model's "
            "tokenizer.json with the text for its own tokens."
        )
    else:
        divide = _tokeniser(tokeniser)
        tokens = np.array(divide.encode(text, add_special_tokens=False).ids, np.int32)
        note = (
            f"{len(raw):,} bytes are {len(tokens):,} tokens of the tokeniser, which knows "
            f"{divide.get_vocab_size():,}; pieces of {length:,}."
        )
    n_pieces = (len(tokens) - 1) // length
    if n_pieces < _LEAST_PIECES:
        raise RefusedFileError(
            f"The text has {len(tokens):,} {'tokens' if tokeniser else 'bytes'}; pieces of "
            f"{length:,} need at least {_LEAST_PIECES * length + 1:,}."
        )
    used = n_pieces * length
    inputs = tokens[:used].reshape(n_pieces, length)
    targets = tokens[1 : used + 1].reshape(n_pieces, length).astype(np.int64)
    beginnings = (
        tuple(divide.decode(piece.tolist())[:_SHOWN] for piece in inputs[:_SHOWN_PIECES])
        if tokeniser
        else ()
    )
    return Pieces(inputs, targets, [note], beginnings)


def _tokeniser(path: Path) -> Any:
    """Read a tokeniser, which neither cuts nor fills up texts here."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise RefusedFileError(
            "A tokenizer.json needs the package tokenizers, which is not installed. Install it: "
            "python -m pip install -r requirements-models.txt"
        ) from None
    try:
        found: Any = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # whatever is in the file; the package raises Exception itself
        raise RefusedFileError(
            f"The tokeniser cannot be read: {shortened(' '.join(str(error).split()), 80)}. Give "
            "the tokenizer.json that is saved beside the model."
        ) from None
    found.no_truncation()
    found.no_padding()
    return found
