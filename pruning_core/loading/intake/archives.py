"""Zip files of strangers: what their directory says is checked before anything is read."""

import os
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from pruning_core.loading.intake.contents import RefusedFileError, shortened

_LOCAL_HEADER: Final = struct.Struct("<4s5H3L2H")
_BLOCK: Final = 1 << 22
_END: Final = struct.Struct("<4s4H2LH")
_LOCATOR: Final = struct.Struct("<4sLQL")
_LARGE_END: Final = struct.Struct("<4sQ2H2L4Q")
_LONGEST_COMMENT: Final = 65_535
_ENTRY_BYTES: Final = 512
DAMAGED: Final = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    NotImplementedError,
)


def check_directory(stream: BinaryIO, most_entries: int, most_bytes: int) -> None:
    """Refuse a long directory before any of it is read; its end is found as ``zipfile`` does.

    Args:
        stream: A zip file; it is left at its beginning.
        most_entries: Entries the directory may say it has.
        most_bytes: Bytes it may have.

    Raises:
        RefusedFileError: If it has more.
        BadZipFile: If there is none.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _END.size - _LONGEST_COMMENT - _LOCATOR.size - _LARGE_END.size))
    tail = stream.read()
    stream.seek(0)
    start = len(tail) - _END.size
    if not (tail[-_END.size :].startswith(b"PK\5\6") and tail.endswith(b"\0\0")):
        start = tail.rfind(b"PK\5\6")
    if not 0 <= start <= len(tail) - _END.size:
        raise zipfile.BadZipFile("it has no directory at its end")
    _, _, _, _, n_entries, n_bytes, _, _ = _END.unpack_from(tail, start)
    large = start - _LOCATOR.size - _LARGE_END.size
    if large >= 0 and tail[large : large + 4] == b"PK\6\6" and tail[start - 20 :][:4] == b"PK\6\7":
        *_, n_entries, n_bytes, _ = _LARGE_END.unpack_from(tail, large)
    if n_entries > most_entries:
        raise RefusedFileError(
            f"The zip file has {n_entries:,} entries; at most {most_entries:,} are opened."
        )
    if n_bytes > most_bytes:
        raise RefusedFileError(
            f"The directory of the zip file is too large: {n_bytes:,} bytes; at most "
            f"{most_bytes:,} are read."
        )


def check_entry(entry: zipfile.ZipInfo) -> None:
    """Refuse names that lead out of the archive, links and encryption, whether it is read or not.

    Raises:
        RefusedFileError: With the name.
    """
    name = shortened(entry.filename, 40)
    parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
    if ".." in parts or entry.filename.startswith(("/", "\\")) or ":" in "".join(parts[:1]):
        raise RefusedFileError(
            f"The entry '{name}' has an unsafe name, which points outside of the zip file."
        )
    if stat.S_IFMT(entry.external_attr >> 16) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise RefusedFileError(f"The entry '{name}' is a link, no ordinary file.")
    if entry.flag_bits & 1:
        raise RefusedFileError(f"The entry '{name}' is encrypted. Save it without a password.")


class Archive:
    """A zip file whose directory was found to be plausible.

    Attributes:
        path: The file.
        members: Its entries by name, folders left out.
    """

    def __init__(self, path: Path, *, most_entries: int, most_bytes: int) -> None:
        """Read the directory.

        Args:
            path: The file.
            most_entries: Entries it may have.
            most_bytes: Bytes they may unpack to.

        Raises:
            RefusedFileError: If it is no whole zip file, or has more than that.
        """
        self.path = path
        try:
            with path.open("rb") as stream:
                check_directory(stream, most_entries, most_entries * _ENTRY_BYTES)
            self.file = zipfile.ZipFile(path)
        except DAMAGED:
            raise RefusedFileError(
                "The file is cut off or damaged: it begins like a zip file and has no directory at "
                "its end. Download or save it again."
            ) from None
        entries = [entry for entry in self.file.infolist() if not entry.is_dir()]
        if len(entries) > most_entries:
            raise RefusedFileError(
                f"The zip file has {len(entries):,} entries; at most {most_entries:,} are opened."
            )
        self.members = {entry.filename: entry for entry in entries}
        if len(self.members) != len(entries):
            raise RefusedFileError("The zip file holds two entries with the same name.")
        size = path.stat().st_size
        for entry in entries:
            self._check(entry, size)
        total = sum(entry.file_size for entry in entries)
        if total > most_bytes:
            raise RefusedFileError(
                f"The zip file would unpack to {total / 1e9:.1f} GB; at most "
                f"{most_bytes / 1e9:.1f} GB are opened. It may be a zip bomb."
            )

    def _check(self, entry: zipfile.ZipInfo, size: int) -> None:
        check_entry(entry)
        name = shortened(entry.filename, 40)
        if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise RefusedFileError(f"The entry '{name}' is compressed in an unknown way.")
        if entry.header_offset + entry.compress_size > size or (
            entry.compress_type == zipfile.ZIP_STORED and entry.compress_size != entry.file_size
        ):
            raise RefusedFileError(f"The sizes of the entry '{name}' contradict each other.")

    def read(self, entry: zipfile.ZipInfo, most: int) -> bytes:
        """Return an entry; its checksum is compared.

        Raises:
            RefusedFileError: If it is damaged, or longer than ``most`` or than its directory says.
        """
        name = shortened(entry.filename, 40)
        if entry.file_size > most:
            raise RefusedFileError(
                f"The entry '{name}' has {entry.file_size:,} bytes; at most {most:,} are read."
            )
        try:
            with self.file.open(entry) as stream:
                found = stream.read(entry.file_size + 1)
                longer = len(found) > entry.file_size or bool(stream.read(1))
        except DAMAGED as error:
            raise RefusedFileError(_damaged(name, error)) from None
        if longer or len(found) != entry.file_size:
            raise RefusedFileError(
                f"The entry '{name}' does not have the {entry.file_size:,} bytes that the zip "
                "file's directory says."
            )
        return found

    def check_sums(self) -> None:
        """Compare the checksums of all entries, in blocks.

        Raises:
            RefusedFileError: If a bit is not as it was written.
        """
        for entry in self.members.values():
            try:
                with self.file.open(entry) as stream:
                    while stream.read(_BLOCK):
                        pass
            except DAMAGED as error:
                name = shortened(entry.filename, 40)
                raise RefusedFileError(_damaged(name, error)) from None

    def start(self, entry: zipfile.ZipInfo) -> int:
        """Return where in the file the bytes of an uncompressed entry begin."""
        with self.path.open("rb") as stream:
            stream.seek(entry.header_offset)
            header = stream.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size:
            raise RefusedFileError("The zip file's directory points outside the file.")
        *_, name, extra = _LOCAL_HEADER.unpack(header)
        return int(entry.header_offset + _LOCAL_HEADER.size + name + extra)


def _damaged(name: str, error: Exception) -> str:
    if "CRC" in str(error):
        return (
            f"The entry '{name}' is damaged: its checksum differs from what was written. Download "
            "or save the file again."
        )
    return f"The entry '{name}' cannot be unpacked: it is damaged. Download or save the file again."
