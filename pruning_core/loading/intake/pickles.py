"""Reading the pickle of a checkpoint without unpickling it.

An interpreter of the operations ``torch.save`` writes. It calls nothing: a name of a class or
function becomes a :class:`Global`, a call becomes a :class:`Call`, and only the few that describe
tensors are understood. Any other name ends the reading with a sentence that says which.
"""

import os
import pickletools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, Any, BinaryIO, Final, cast

from pruning_core.loading.intake.contents import RefusedFileError, shortened

_MOST_OPERATIONS: Final = 3_000_000
_MARK: Final = object()

DESCRIBES: Final = frozenset(
    {
        *("collections OrderedDict", "collections Counter", "collections defaultdict"),
        *("torch Size", "torch device", "torch.nn.parameter Parameter"),
        *("torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2"),
        *("torch._utils _rebuild_tensor_v3", "torch._utils _rebuild_parameter"),
        *("torch._utils _rebuild_parameter_with_state", "torch.storage UntypedStorage"),
        *("torch.storage _load_from_bytes", "torch.storage TypedStorage"),
    }
)
"""Names that are understood, as ``module name``."""
PLAIN: Final = frozenset(
    {
        *("numpy.core.multiarray scalar", "numpy._core.multiarray scalar", "numpy dtype"),
        *("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"),
        *("numpy ndarray", "_codecs encode", "argparse Namespace", "builtins set", "builtins dict"),
        *("__builtin__ set", "__builtin__ dict", "builtins bytearray", "builtins complex"),
        *("pathlib PosixPath", "pathlib WindowsPath", "pathlib PurePosixPath", "pathlib Path"),
        *("pathlib._local PosixPath", "datetime datetime", "datetime timedelta"),
        *("pytorch_lightning.utilities.parsing AttributeDict", "torch.torch_version TorchVersion"),
        *("lightning.pytorch.utilities.parsing AttributeDict", "builtins slice", "builtins range"),
        *("lightning_fabric.utilities.data AttributeDict", "builtins float", "builtins int"),
    }
)
"""Names of plain values that stand beside weights (settings, counters); they are left unread."""
_REFUSED: Final = {
    "torch._utils _rebuild_sparse_tensor": "a sparse tensor",
    "torch._utils _rebuild_sparse_csr_tensor": "a sparse tensor",
    "torch._utils _rebuild_nested_tensor": "a nested tensor",
    "torch._utils _rebuild_meta_tensor_no_storage": "a meta tensor without values",
    "torch._utils _rebuild_qtensor": "a quantised tensor",
}
_MODULES: Final = ("torch.nn.", "torchvision.", "timm.", "transformers.", "ultralytics.", "models.")


@dataclass(frozen=True, slots=True)
class Global:
    """A class or function that the file names; it is never looked up."""

    name: str


@dataclass(slots=True)
class Call:
    """A call that the file asks for; it is never made.

    Attributes:
        what: What would be called.
        arguments: With what.
        entries: What would be put in afterwards, for dictionaries.
    """

    what: str
    arguments: tuple[Any, ...]
    entries: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Persistent:
    """A reference to a storage beside the pickle."""

    identifier: Any


def read_pickle(stream: BinaryIO) -> Any:
    """Return a description of the next pickle of ``stream``: plain values, calls and references.

    Raises:
        RefusedFileError: If it is damaged, or names anything that is not known to be harmless.
    """
    machine = _Machine()
    try:
        for operation, argument, _ in islice(_operations(stream), _MOST_OPERATIONS):
            if machine.step(operation.name, argument):
                return machine.stack.pop()
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, UnicodeError) as error:
        problem = str(error).split("\n", maxsplit=1)[0][:60]
        raise RefusedFileError(
            f"The checkpoint is damaged: its list of entries cannot be read ({problem}). Download "
            "or save it again."
        ) from None
    raise RefusedFileError(
        f"The checkpoint has more than {_MOST_OPERATIONS:,} entries; no model has so many."
    )


def _operations(stream: BinaryIO) -> Iterator[tuple[Any, Any, Any]]:
    yield from pickletools.genops(cast("IO[bytes]", _Whole(stream)))


class _Whole:
    """A file that does not even try to give more bytes than there are."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        here = stream.tell()
        self._size = stream.seek(0, os.SEEK_END)
        stream.seek(here)
        self.readline, self.tell = stream.readline, stream.tell

    def read(self, n: int) -> bytes:
        """Return the next ``n`` bytes.

        Raises:
            ValueError: If there are not as many.
        """
        left = self._size - self._stream.tell()
        if n > left:
            raise ValueError(f"an entry of {n:,} bytes, and {left:,} are left")
        return self._stream.read(n)


class _Machine:
    """The stack machine of the pickle format, without any way to call."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> bool:
        """Carry out one operation; return True at the end of the pickle."""
        if name == "STOP":
            return True
        if name in _IGNORED:
            return False
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _FIXED:
            self.stack.append(_FIXED[name]())
        elif name in {"PUT", "BINPUT", "LONG_BINPUT"}:
            self._memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self.stack[-1]
        elif name in {"GET", "BINGET", "LONG_BINGET"}:
            self.stack.append(self._memo[argument])
        elif name in _STEPS:
            _STEPS[name](self, argument)
        else:
            raise RefusedFileError(
                f"The checkpoint holds the operation {name}, which no state dict needs. Save "
                "model.state_dict() alone."
            )
        return False

    def named(self, argument: Any) -> None:
        """Push a name, if it is harmless."""
        self.stack.append(Global(_permitted(str(argument))))

    def named_on_stack(self, _: Any) -> None:
        """Push the name whose parts lie on the stack."""
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(Global(_permitted(f"{module} {name}")))

    def persistent(self, _: Any) -> None:
        """Replace an identifier by a reference."""
        self.stack.append(Persistent(self.stack.pop()))

    def call(self, _: Any) -> None:
        """Replace a name and its arguments by a call that is not made."""
        arguments, what = self.stack.pop(), self.stack.pop()
        if not isinstance(what, Global) or not isinstance(arguments, tuple):
            raise TypeError("a call of something that is no name")
        made = Call(what.name, arguments)
        if what.name == "collections OrderedDict" and arguments:  # as Python 2 wrote it
            made.entries.update({str(key): value for key, value in arguments[0]})
        self.stack.append(made)

    def build(self, _: Any) -> None:
        """Drop the state of an object: weights are never in it."""
        self.stack.pop()

    def since_mark(self) -> list[Any]:
        """Take everything off the stack that lies above the last mark."""
        marks = (i for i in range(len(self.stack) - 1, -1, -1) if self.stack[i] is _MARK)
        at = next(marks, None)
        if at is None:
            raise ValueError("a mark is missing")
        found = self.stack[at + 1 :]
        del self.stack[at:]
        return found

    def tuple_of(self, n: int | None) -> None:
        """Push a tuple of the top ``n`` entries; None takes those above the mark."""
        items = self.since_mark() if n is None else self.stack[len(self.stack) - n :]
        if n is not None:
            del self.stack[len(self.stack) - n :]
        self.stack.append(tuple(items))

    def set_items(self, items: Iterable[Any]) -> None:
        """Put pairs into the dictionary on the stack."""
        target, flat = self.stack[-1], list(items)
        entries = target.entries if isinstance(target, Call) else target
        if not isinstance(entries, dict) or len(flat) % 2:
            raise ValueError("entries of something that is no dictionary")
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            entries[key if isinstance(key, str | int | float | tuple) else repr(type(key))] = value

    def add(self, items: Iterable[Any]) -> None:
        """Put values into the list or set on the stack."""
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, set | Call):
            raise TypeError("values of something that is no list")

    def popped(self, n: int) -> list[Any]:
        """Take the top ``n`` entries off."""
        found = self.stack[len(self.stack) - n :]
        del self.stack[len(self.stack) - n :]
        return found


_IGNORED: Final = frozenset({"PROTO", "FRAME"})
_VALUES: Final = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
        *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    }
)
_FIXED: Final[dict[str, Callable[[], Any]]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
    "MARK": lambda: _MARK,
}
_STEPS: Final[dict[str, Callable[[_Machine, Any], Any]]] = {
    "GLOBAL": _Machine.named,
    "STACK_GLOBAL": _Machine.named_on_stack,
    "BINPERSID": _Machine.persistent,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "BUILD": _Machine.build,
    "TUPLE": lambda machine, _: machine.tuple_of(None),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "LIST": lambda machine, _: machine.stack.append(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set_items(machine.popped(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "APPEND": lambda machine, _: machine.add(machine.popped(1)),
    "APPENDS": lambda machine, _: machine.add(machine.since_mark()),
    "ADDITEMS": lambda machine, _: machine.since_mark(),
    "POP": lambda machine, _: machine.stack.pop(),
    "POP_MARK": lambda machine, _: machine.since_mark(),
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
}


def _permitted(name: str) -> str:
    """Return a name that is harmless.

    Raises:
        RefusedFileError: With what the name is otherwise.
    """
    module, _, attribute = name.partition(" ")
    is_torch_type = module == "torch" and (
        attribute.endswith("Storage") or attribute in _ELEMENT_TYPES
    )
    if name in DESCRIBES or name in PLAIN or is_torch_type:
        return name
    if name in _REFUSED:
        raise RefusedFileError(
            f"The checkpoint holds {_REFUSED[name]}, which cannot be opened. Save dense float "
            "tensors."
        )
    shown = shortened(name, 50)
    if module.startswith(_MODULES):
        raise RefusedFileError(
            f"The file is a whole model (class {shortened(attribute, 40)}), whose code would have "
            "to run to open it. Save model.state_dict() instead."
        )
    raise RefusedFileError(
        f"The checkpoint holds code: opening it would call '{shown}'. Nothing was run. Save "
        "model.state_dict() alone."
    )


_ELEMENT_TYPES: Final = frozenset(
    {
        *("float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64"),
        *("uint8", "uint16", "uint32", "uint64", "bool", "float8_e4m3fn", "float8_e5m2"),
        *("complex64", "complex128"),
    }
)
