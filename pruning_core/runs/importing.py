"""The folder of a run from another machine, as a zip file: screened, checked, and listed.

Only three files are read: recipe.json, report.json and model.safetensors; nothing else leaves the
archive, no name in it becomes a path, and nothing in it is code. ONNX and HTML files are written
anew here when they are wanted.
"""

import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Final

from pruning_core.errors import ExportError, PruningError, RunError
from pruning_core.exporting.document import Document, plain
from pruning_core.exporting.metric_table import headlines, task_of
from pruning_core.exporting.reopen import open_run
from pruning_core.exporting.schema import MAX_REPORT_BYTES, checked_report
from pruning_core.loading.intake.archives import DAMAGED, check_directory, check_entry
from pruning_core.loading.intake.contents import RefusedFileError
from pruning_core.loading.intake.safetensors_files import read_header
from pruning_core.planning.recipe import MAX_RECIPE_BYTES, Recipe
from pruning_core.runs.counting import counted
from pruning_core.runs.store import Record, Store

MAX_FILES: Final = 200
MAX_WEIGHTS_BYTES: Final = 1_000_000_000
MAX_IMPORTED: Final = 100
MAX_UNITS: Final = 200_000_000
MAX_DIRECTORY_BYTES: Final = 200_000
IMPORTED: Final = "imported"
_LIMITS: Final = {
    "recipe.json": MAX_RECIPE_BYTES,
    "report.json": MAX_REPORT_BYTES,
    "model.safetensors": MAX_WEIGHTS_BYTES,
}
_PIECE: Final = 1_000_000


def import_run(
    archive: BinaryIO,
    name: str,
    *,
    check: Callable[[Recipe], object] = lambda _: None,
    allow_python: Callable[[str], bool] = lambda _: False,
    store: Store | None = None,
) -> Record:
    """List the run in ``archive`` among the finished ones, labelled as imported.

    Args:
        archive: A zip file of what a run wrote, in one folder of any name or in none.
        name: What the file is called; for the label alone.
        check: Raises a PruningError for recipes that are not to be opened here.
        allow_python: Tells which models may be loaded although that runs code.
        store: Where runs are listed; None is that of this server.

    Raises:
        ExportError: If the archive is none, is unsafe, or its files do not fit together.
        PruningError: If the model cannot be loaded, or too many runs were imported.
    """
    store = store or Store()
    if sum(record.label.startswith(IMPORTED) for record in store.all()) >= MAX_IMPORTED:
        raise RunError(
            f"{MAX_IMPORTED} imported runs are listed, as many as are kept. Delete one first."
        )
    folder = Path(tempfile.mkdtemp(prefix="import-", dir=store.root))
    try:
        document = _unpack(archive, folder, check)
        _check_weights(folder, document, allow_python)
        recipe = Recipe.from_json((folder / "recipe.json").read_bytes())
        label = f"{IMPORTED} {' '.join(PurePosixPath(name).stem.split())[:60]}".strip()
        reached, task = headlines(document), task_of(document).key
        return store.adopt(recipe, folder, label=label, accuracy=reached, task=task)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(archive: BinaryIO, folder: Path, check: Callable[[Recipe], object]) -> Document:
    """Write the three files into ``folder``; the report as it was understood."""
    with _readable():
        check_directory(archive, MAX_FILES, MAX_DIRECTORY_BYTES)
        opened = zipfile.ZipFile(archive)
    with opened:
        found = _members(opened)
        recipe = Recipe.from_json(_read(opened, found["recipe.json"], MAX_RECIPE_BYTES))
        check(recipe)
        document = checked_report(_read(opened, found["report.json"], MAX_REPORT_BYTES))
        _check_together(recipe, document)
        expected = document["bytes"]["after"]
        if found["model.safetensors"].file_size != expected:
            raise ExportError(
                f"model.safetensors has {found['model.safetensors'].file_size:,} bytes; its "
                f"report counted {expected:,}. The files belong to different runs."
            )
        _copy(opened, found["model.safetensors"], folder / "model.safetensors", expected)
    (folder / "recipe.json").write_text(recipe.to_json(), encoding="utf-8")
    text = json.dumps(plain(document), indent=1, allow_nan=False) + "\n"
    (folder / "report.json").write_text(text, encoding="utf-8")
    return document


@contextmanager
def _readable() -> Iterator[None]:
    """Turn what zipfile raises for damaged bytes into a sentence."""
    try:
        yield
    except RefusedFileError as error:
        raise ExportError(f"{error} Zip the folder of one run alone.") from None
    except DAMAGED as error:
        raise ExportError(
            f"This is no zip file that can be read ({str(error)[:80] or 'it ends early'}). Zip the "
            "folder that a run wrote."
        ) from None


def _members(opened: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the three files of the one run in the archive.

    Raises:
        ExportError: If one is missing, occurs twice or is too large, or an entry is unsafe.
    """
    entries = opened.infolist()
    if len(entries) > MAX_FILES:
        raise ExportError(
            f"The archive holds {len(entries):,} entries; the folder of a run has a few. At most "
            f"{MAX_FILES} are read."
        )
    with _readable():
        for entry in entries:
            check_entry(entry)
    files = [entry for entry in entries if not entry.is_dir()]
    homes = {PurePosixPath(e.filename).parent for e in files if _leaf(e) == "report.json"}
    if len(homes) != 1:
        raise ExportError(
            f"The archive holds {len(homes)} files called report.json; a run has one. Zip the "
            "folder of one run."
        )
    (home,) = homes
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in files:
        if PurePosixPath(entry.filename).parent == home and _leaf(entry) in _LIMITS:
            if _leaf(entry) in found:
                raise ExportError(f"The archive holds '{_leaf(entry)}' twice.")
            found[_leaf(entry)] = entry
    missing = [name for name in _LIMITS if name not in found]
    if missing:
        raise ExportError(
            f"The archive lacks {' and '.join(missing)}. Zip the whole folder that a run wrote."
        )
    for name, entry in found.items():
        if entry.file_size > _LIMITS[name]:
            raise ExportError(
                f"{name} has {entry.file_size:,} bytes unpacked; at most {_LIMITS[name]:,} are "
                "read."
            )
    return found


def _leaf(entry: zipfile.ZipInfo) -> str:
    return PurePosixPath(entry.filename).name


def _read(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    """Return a file of the archive; what it says of its own size is not believed."""
    with _readable(), opened.open(entry) as stream:
        raw = stream.read(most + 1)
    if len(raw) > most:
        raise ExportError(f"{_leaf(entry)} has more than {most:,} bytes, the most that is read.")
    return raw


def _copy(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, n_bytes: int) -> None:
    """Write a file of exactly ``n_bytes``, piece by piece."""
    left = n_bytes
    with _readable():
        stream = opened.open(entry)
    with stream, path.open("wb") as target:
        while piece := _piece(stream):
            left -= len(piece)
            if left < 0:
                raise ExportError(f"{_leaf(entry)} is larger than the archive says.")
            target.write(piece)
    if left:
        raise ExportError(f"{_leaf(entry)} is smaller than the archive says.")


def _piece(stream: IO[bytes]) -> bytes:
    with _readable():
        return stream.read(_PIECE)


def _check_together(recipe: Recipe, document: Document) -> None:
    """Refuse a report of another recipe, and masks too large for any model.

    They are unpacked when the model is known, and only if they are as long as it has units.
    """
    if recipe.fingerprint != document["recipe_fingerprint"] or recipe.model != document["model"]:
        raise ExportError("recipe.json and report.json belong to different runs.")
    n_units = sum(packed["n"] for packed in document["keep"].values())
    if n_units > MAX_UNITS:
        raise ExportError(
            f"report.json holds masks of {n_units:,} units; at most {MAX_UNITS:,} are read."
        )


def _check_weights(folder: Path, document: Document, allow_python: Callable[[str], bool]) -> None:
    """Build the pruned network and compare it with what the report counted.

    Raises:
        ExportError: If the weights are not those of the report.
    """
    read_header(folder / "model.safetensors")  # has bounds, unlike the library
    try:
        result = open_run(folder, allow_python=allow_python)
    except PruningError:
        raise
    except (KeyError, ValueError, IndexError, RuntimeError):
        raise ExportError(
            f"The masks of this run do not fit the model '{document['model'][:60]}' here."
        ) from None
    found = counted(result.surgery.module, macs=document["macs"]["after"])
    for name in ("params", "nonzero"):
        if getattr(found, name) != document[name]["after"]:
            raise ExportError(
                f"The report says {document[name]['after']:,} {name}; the weights have "
                f"{getattr(found, name):,}. They belong to different runs."
            )
