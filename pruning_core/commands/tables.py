"""Tables that several commands print."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from pruning_core.exporting.int8_table import HEADER, int8_rows, int8_sentences
from pruning_core.exporting.wording import count, percent, ratio, table

if TYPE_CHECKING:
    from pruning_core.preview import Preview

TOTALS: Final = (
    ("params", "Parameters"),
    ("nonzero", "Non-zero parameters"),
    ("macs", "MACs for one sample"),
    ("bytes", "Bytes as safetensors"),
)


def totals_table(document: dict[str, Any]) -> str:
    """Return the table of the four totals before and after, with their ratio."""
    rows = [
        (
            title,
            count(document[key]["before"]),
            count(document[key]["after"]),
            ratio(document[key]["before"], document[key]["after"]),
        )
        for key, title in TOTALS
    ]
    return table(("", "Before", "After", "Ratio"), rows)


def layers_table(preview: "Preview") -> str:
    """Return the table of layers with non-zero parameters and MACs before and after."""
    rows = [
        (
            layer.name or "(root)",
            layer.kind,
            count(layer.before.nonzero),
            count(layer.after.nonzero),
            count(layer.before.macs),
            count(layer.after.macs),
        )
        for layer in preview.layers
    ]
    header = ("Layer", "Kind", "Non-zero", "after", "MACs", "after")
    return table(header, rows, left=2)


def encodings_table(sizes: Mapping[str, int | None]) -> str:
    """Return the table of file sizes by encoding; empty when there are none."""
    if not sizes:
        return ""
    dense = sizes["dense"] or 1
    rows = [
        (key, "-", "-") if size is None else (key, count(size), percent(size / dense))
        for key, size in sizes.items()
    ]
    return table(("Weights written as", "Bytes", "of dense"), rows)


def int8_text(found: dict[str, Any]) -> str:
    """Return what was measured of the int8 file: a table and sentences."""
    return "\n".join([table(HEADER, int8_rows(found)), *int8_sentences(found)])


def notes_text(notes: Mapping[str, Sequence[str]]) -> str:
    """Return why wishes were limited, one line each; empty when none was.

    Args:
        notes: Site name -> sentences; ``""`` is the whole plan.
    """
    return "\n".join(
        f"Note: {f'{site}: ' if site else ''}{text}"
        for site, texts in notes.items()
        for text in texts
    )
