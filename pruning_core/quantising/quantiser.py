"""The type of a quantiser, and their registry."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pruning_core.registry import Registry, import_plugins

Feed = Mapping[str, NDArray[np.float32]]
"""Inputs of one call of an ONNX file, by name."""
Calibration = Callable[[], Iterator[Feed]]
"""Starts a pass over calibration data, batch by batch."""


@dataclass(frozen=True, slots=True)
class Quantiser:
    """One way to make an ONNX file of float32 numbers one of int8 numbers.

    Attributes:
        key: Name in recipes.
        title: Name on screen.
        description: What it does and when it pays, for the screen.
        source: Where it is described.
        quantise: Reads the first file, writes the second and returns the weights which it only
            stores as int8 and still multiplies as float32, by their names in the file.
        needs_data: True when it watches activations; it gets no calibration data otherwise.
        session: Settings an onnxruntime session is opened with to measure the file.
    """

    key: str
    title: str
    description: str
    source: str
    quantise: Callable[[Path, Path, Calibration | None], Sequence[str]]
    needs_data: bool = False
    session: Mapping[str, str] = field(default_factory=dict)


QUANTISERS: Final[Registry[Quantiser]] = Registry("kind of quantisation")

UNPACK_ONCE: Final[Mapping[str, str]] = {"session.disable_quant_qdq": "1"}
"""Makes onnxruntime turn stored int8 weights into float32 while it opens the file.

Without it they are turned at every call, which convolutions pay with up to twice the time.
"""

import_plugins("pruning_core.quantising.kinds")  # last, because the kinds import this module
