"""The figures of the report as SVG files, drawn without a browser."""

import io
import zipfile
from pathlib import Path
from typing import Final

from pruning_core.exporting.document import run_document
from pruning_core.exporting.exporter import exporter
from pruning_core.exporting.report.page import figures_of
from pruning_core.exporting.result import RunResult
from pruning_core.exporting.writing import whole_file

_STYLE: Final = """<style>
text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:#1b1f24}
.tick{fill:#57606a}.grid{stroke:#d0d7de;stroke-width:1}
polyline{fill:none;stroke-width:2}
.first polyline{stroke:#d55e00;stroke-dasharray:5 3}.first circle{fill:#d55e00}
.second polyline{stroke:#0072b2}.second circle{fill:#0072b2}
rect.removed{fill:none;stroke:#d55e00;stroke-width:1}rect.kept{fill:#0072b2}
</style><rect width="100%" height="100%" fill="#fff"/>"""


@exporter(
    "figures",
    title="Figures (SVG)",
    file_name="figures.zip",
    media_type="application/zip",
    description="The curves of fine-tuning and what is left of each layer, as drawings that scale. "
    "Any figure of the pages is saved as PNG by the camera above it.",
    on_demand=True,
)
def write_figures(result: RunResult, path: Path) -> RunResult:
    """Write an archive of one SVG file a figure."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, drawing in figures_of(run_document(result)).items():
            archive.writestr(f"{name}.svg", standalone(drawing))
    with whole_file(path) as part:
        part.write_bytes(content.getvalue())
    return result


def standalone(drawing: str) -> str:
    """Return a drawing of the report as a file of its own, with its colours."""
    opened, closing, rest = drawing.partition(">")
    named = opened.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    return f"{named}{closing}{_STYLE}{rest}\n"
