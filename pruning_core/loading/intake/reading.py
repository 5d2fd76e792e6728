"""What the limited child does with one upload: find its format, read it, write plain files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pruning_core.loading.intake.contents import Contents, RefusedFileError, shortened
from pruning_core.loading.intake.safetensors_files import read_safetensors
from pruning_core.loading.intake.torch_files import read_checkpoint
from pruning_core.loading.intake.writing import write_safetensors

SUFFIXES: Final = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".onnx")
_PROGRAMS: Final = (".pt2", ".jit", ".ptl", ".torchscript", ".pkl", ".pickle")
_POINTER: Final = b"version https://git-lfs"
_MOST_GROUPS: Final = 4


def read_upload(paths: Mapping[str, Path], target: Path) -> dict[str, Any]:
    """Write what the files hold to ``target`` and its neighbours, and return a summary.

    The first group of tensors goes to ``target``, the others to the same name with ``.1``, ``.2``.

    Args:
        paths: Where each file lies, by the name it was given.
        target: A file to write, ``NAME.safetensors``.

    Returns:
        Plain data: ``kind``, ``notes``, ``details`` and ``groups``, a list of dictionaries with
        ``file``, ``name``, ``n_tensors``, ``n_values``, ``n_bytes`` and ``warnings``.

    Raises:
        RefusedFileError: If the files are not opened.
    """
    contents = _read(paths)
    groups = []
    for number, (name, tensors) in enumerate(contents.groups.items()):
        if number == _MOST_GROUPS:
            break
        path = target if number == 0 else target.with_suffix(f".{number}.safetensors")
        written = write_safetensors(tensors, path)
        groups.append(
            {
                "file": path.name,
                "name": shortened(name),
                "n_tensors": written.n_tensors,
                "n_values": written.n_values,
                "n_bytes": written.n_bytes,
                "warnings": list(written.warnings),
            }
        )
    return {
        "kind": contents.kind,
        "notes": list(contents.notes[:20]),
        "details": contents.details,
        "groups": groups,
    }


def _read(paths: Mapping[str, Path]) -> Contents:
    for name, path in paths.items():
        _check_file(name, path)
    suffixes = {Path(name).suffix.lower() for name in paths}
    if suffixes == {".safetensors"}:
        return read_safetensors(paths)
    if len(paths) != 1:
        raise RefusedFileError(
            "Several files are opened together only as the shards of one safetensors model."
        )
    (path,) = paths.values()
    if suffixes == {".onnx"}:
        from pruning_core.loading.intake.onnx_files import read_onnx

        return read_onnx(path)
    return read_checkpoint(path)


def _check_file(name: str, path: Path) -> None:
    """Refuse names of other kinds, and files that are nothing at all."""
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        hint = " Such a file holds a program: opening it runs code." if suffix in _PROGRAMS else ""
        raise RefusedFileError(
            f"'{shortened(name, 40)}' is no file of weights.{hint} Give .safetensors, .pt, .pth or "
            ".onnx."
        )
    with path.open("rb") as stream:
        start = stream.read(len(_POINTER))
    if not start:
        raise RefusedFileError(f"'{shortened(name, 60)}' is empty. Download or save it again.")
    if start == _POINTER:
        raise RefusedFileError(
            f"'{shortened(name, 60)}' is a pointer of git-LFS instead of the weights. Fetch the "
            "file itself with: git lfs pull"
        )
