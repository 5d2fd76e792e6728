"""Zip files of strangers: what their directory says is checked before anything is read."""

import struct
import zipfile
import zlib
from pathlib import Path
from typing import Final

from pruning_core.loading.intake.contents import RefusedFileError, shortened

_LOCAL_HEADER: Final = struct.Struct("<4s5H3L2H")
_BLOCK: Final = 1 << 22
DAMAGED: Final = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    NotImplementedError,
)


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
        name = shortened(entry.filename, 40)
        if entry.flag_bits & 1:
            raise RefusedFileError(f"The entry '{name}' is encrypted. Save it without a password.")
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
