"""Bad and good files (``tests/vendored/bad_inputs.py``) and what becomes of each here.

``says`` is part of the sentence a person gets: the cause.
"""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

os.environ.setdefault("BOMB_SHRINK", "16")
from tests.vendored import bad_inputs

_SAYS = {
    "pt_empty": "is empty",
    "pt_random": "no checkpoint of PyTorch",
    "pt_lfs_pointer": "git-LFS",
    "pt_truncated": "cut off",
    "pt_zip_no_pkl": "no data.pkl",
    "pt_missing_record": "values of 'conv1.weight' are missing",
    "pt_evil_zip": "holds code: opening it would call 'posix system'",
    "pt_evil_legacy": "holds code: opening it would call 'posix system'",
    "pt_evil_tar": "tar archive",
    "pt_whole_module": "whole model (class Sequential)",
    "pt_torchscript": "TorchScript program",
    "pt_zip_bomb": "zip bomb",
    "pt_expand_bomb": "by repeating the 1 that are stored",
    "pt_size_lie": "the file holds 4 for it",
    "pt_negative_dim": "'w' is no tensor",
    "pt_meta_tensor": "meta tensor",
    "pt_sparse_coo_oob": "sparse tensor",
    "pt_billion_laughs": "no weights by name",
    "pt_deep_nesting": "a list, not weights by name",
    "pt_50k_keys": "at most 10,000",
    "pt_inf": "'fc.weight' holds infinite values",
    "pt_huge_values": "'fc.weight' holds values above 1.8e19",
    "pt_non_tensor_value": "'fc.weight' is a text",
    "pt_int_keys": "by numbers",
    "pt_int_weights": "whole numbers (int64)",
    "pt_zero_size": "[0, 1, 3, 3]",
    "pt_path_names": "zero everywhere",
    "pt_long_name": "at most 512",
    "pt2_evil_inputs": "runs code",
    "pt2_evil_weight": "runs code",
    "pt2_aoti_so": "runs code",
    "pt2_truncated": "runs code",
    "st_len_over_file": "shorter than its header says",
    "st_len_99mb": "shorter than its header says",
    "st_hole": "after a hole",
    "st_overflow": "a shape that needs",
    "st_duplicate_key": "'a' twice",
    "st_bad_utf8": "not UTF-8",
    "st_unknown_dtype": "unknown element type 'Q99'",
    "st_zero_huge": "impossible shape",
    "st_nan": "'fc.weight' holds NaN",
    "onnx_ext_dotdot": "external data",
    "onnx_ext_absolute": "external data",
    "onnx_ext_missing": "external data",
    "onnx_ext_device": "external data",
    "onnx_dims_lie": "the file holds 4 for it",
    "onnx_unknown_op": "Frobnicate",
    "onnx_const_bomb": "more than fits into memory",
    "onnx_truncated": "no ONNX file, or is cut off",
    "onnx_future_opset": "version 9999",
}
_HERE = {
    # Opened alone they are what they are; put into another architecture they do not fit.
    "pt_wrong_arch": "warn",
    "pt_shape_mismatch": "warn",
    # "safe" there: loaded or refused; here more than 10,000 tensors or 512 letters are refused.
    "pt_50k_keys": "reject",
    "pt_long_name": "reject",
    "pt_path_names": "warn",
}


def _made(function: Callable[[str], bytes], label: str) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the attacks use what PyTorch advises against
        return function(label)


@dataclass(frozen=True)
class BadFile:
    label: str
    file: str
    kind: str
    expect: str
    says: str
    make: Callable[[], bytes]


FILES = tuple(
    BadFile(
        label=label,
        file=f"{label}.{extension}",
        kind=kind,
        expect=_HERE.get(label, expect),
        says=_SAYS.get(label, ""),
        make=partial(_made, function, label),
    )
    for label, extension, kind, _, expect, function in bad_inputs.REG
)


def onnx_model() -> bytes:
    """Return a small valid ONNX file."""
    data: bytes = bad_inputs._onnx()
    return data
