"""A folder in the layout of the Hugging Face Hub, as an archive."""

import io
import tempfile
import zipfile
from pathlib import Path

from pruning_core.exporting.exporter import exporter
from pruning_core.exporting.result import RunResult
from pruning_core.exporting.writing import whole_file


@exporter(
    "hugging_face",
    title="Hugging Face folder",
    file_name="hugging_face.zip",
    media_type="application/zip",
    description="Weights, config.json, a model card with the measured numbers, source that loads "
    "them, and what repeats the run. Nothing is sent anywhere.",
    on_demand=True,
)
def write_hugging_face(result: RunResult, path: Path) -> RunResult:
    """Write the archive of what ``push`` writes into a folder."""
    from pruning_core.exporting.model_card import write_hub_folder

    with tempfile.TemporaryDirectory(prefix="hub-") as name:
        folder = Path(name)
        write_hub_folder(result, folder)
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(folder.iterdir()):
                archive.write(file, file.name)
    with whole_file(path) as part:
        part.write_bytes(content.getvalue())
    return result
