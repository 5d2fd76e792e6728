"""Two colour-blind-safe palettes; every mark has at least 3:1 contrast with its background."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of one appearance.

    Attributes:
        background: Of the page.
        text: Of labels.
        kept: What stays.
        pruned: What leaves; always drawn with a pattern too, never by colour alone.
        muted: What is locked, or the state before.
        grid: Grid lines; decoration, below 3:1 on purpose.
        ticks: Of coupled groups, always beside its letter; never those of kept and pruned.
    """

    background: str
    text: str
    kept: str
    pruned: str
    muted: str
    grid: str
    ticks: tuple[str, ...]


LIGHT: Final = Palette(
    background="#FFFFFF",
    text="#1C232B",
    kept="#0072B2",
    pruned="#D55E00",
    muted="#6B7682",
    grid="#E3E8ED",
    ticks=("#007A5E", "#A34E8A", "#8A6D00", "#5A5FC0"),
)
DARK: Final = Palette(
    background="#12161B",
    text="#E4E9EE",
    kept="#56B4E9",
    pruned="#E69F00",
    muted="#9AA5B1",
    grid="#2A323B",
    ticks=("#3FC1A0", "#DE9BC8", "#D8C24A", "#A6ACFF"),
)
CLASSES: Final = (
    *("#4A5560", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"),
    *("#8C564B", "#B8BBC0", "#7F3FBF", "#A3D977", "#17BECF", "#F7B6D2", "#6B6B00", "#FF6F61"),
)
"""Of classes in masks, the first eight colour-blind-safe; always beside a legend; used again after
the last one."""
SEQUENTIAL: Final = "Cividis"
PRUNED_PATTERN: Final = "/"


def palette(*, dark: bool) -> Palette:
    """Return the palette for a dark or a light page."""
    return DARK if dark else LIGHT
