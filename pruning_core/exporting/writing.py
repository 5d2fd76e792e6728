"""Writing files whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pruning_core.errors import ExportError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path; its file takes the place of ``path`` when the block ends well.

    Whatever happens, ``path`` holds either its old content or the whole new one.

    Raises:
        ExportError: If the folder is missing, full or not writable.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
    except OSError as error:
        raise ExportError(_sentence(path, error)) from error
    part = Path(name)
    try:
        yield part
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
        part.chmod(0o644)
        part.replace(path)
    except OSError as error:
        raise ExportError(_sentence(path, error)) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Make ``text`` (as UTF-8) the whole content of ``path``.

    Raises:
        ExportError: If it cannot be written; ``path`` is unchanged then.
    """
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def _sentence(path: Path, error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    return f"'{path}' could not be written: {reason}. Choose a folder that exists and has room."
