"""Several processes that carry one run out together, as ``torchrun`` starts them.

Each process has the whole network and the whole data and works on its share of every batch;
PyTorch's own DistributedDataParallel averages the gradients. The first process (rank 0) decides and
measures what must be the same everywhere, and tells the others; it alone writes. What must agree is
compared by digest, never believed. A process on its own is a team of one, which costs nothing.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar, cast

from pruning_core.errors import PruningError, RunError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.distributed.distributed_c10d import Store

T = TypeVar("T")
LEAST_SHARE: Final = 2
"""Samples of a batch that each process needs: batch norm cannot train on one."""
_PATIENCE: Final = timedelta(hours=12)
"""How long others wait while the first process measures; one that died is seen at once."""
_NETWORK_WORDS: Final = ("gloo", "nccl", "c10d", "connection", "process group", "peer", "socket")


class ElsewhereError(RunError):
    """Another process of the team could not go on; that one says why."""


@dataclass(frozen=True, slots=True)
class Team:
    """The processes of one run, seen from one of them.

    Attributes:
        rank: Number of this process, from 0.
        size: How many there are.
        n_local: How many of them share this machine.
    """

    rank: int = 0
    size: int = 1
    n_local: int = 1

    @property
    def is_first(self) -> bool:
        """True for the process that decides, measures and writes."""
        return self.rank == 0

    @property
    def place(self) -> tuple[int, ...]:
        """What is added to the place of a random draw, so that processes draw differently."""
        return () if self.size == 1 else (self.rank,)

    def first(self, compute: Callable[[], T]) -> T:
        """Let the first process compute something and return it in every process.

        Raises:
            PruningError: In the first process, if ``compute`` does.
            ElsewhereError: In the others, likewise.
        """
        if self.size == 1:
            return compute()
        if not self.is_first:
            answer, is_there = self._told(None)
            if not is_there:
                raise ElsewhereError(str(answer))
            return cast("T", answer)
        try:
            found = compute()
        except PruningError as error:
            self._told((str(error), False))
            raise
        self._told((found, True))
        return found

    def agree(self, what: str, value: str) -> None:
        """Make sure that ``value`` is the same in every process.

        Args:
            what: In the plural, begins the sentence when they differ.
            value: A digest, for example.

        Raises:
            RunError: If it is not.
        """
        if self.size == 1:
            return
        import torch.distributed as dist

        values: list[str | None] = [None] * self.size
        dist.all_gather_object(values, value)
        odd = [rank for rank, other in enumerate(values) if other != values[0]]
        if odd:
            raise RunError(
                f"{what} are not the same in all {self.size} processes (process {odd[0] + 1} has "
                "others). Give every machine the same files and the same versions of the packages."
            )

    def share(self, indices: "Tensor") -> "Tensor":
        """Return this process's samples of a batch ``[B]``: every ``size``-th, from its rank on."""
        return indices[self.rank :: self.size]

    def sums(self, *values: float) -> tuple[float, ...]:
        """Return each of the ``values`` summed over all processes."""
        import torch
        import torch.distributed as dist

        found = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(found)
        return tuple(found.tolist())

    def averaging(self, module: "nn.Module") -> "nn.Module":
        """Return ``module`` as one that averages gradients over the team in its backward pass.

        It begins with the weights and buffers of the first process, everywhere. Parameters that a
        step does not use are left alone, as they are without a team.
        """
        if self.size == 1:
            return module
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(module, find_unused_parameters=True)

    def same_buffers(self, module: "nn.Module") -> None:
        """Give the buffers of ``module`` (batch-norm statistics) the first process's values."""
        if self.size == 1:
            return
        import torch.distributed as dist

        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)

    def _told(self, content: object) -> tuple[object, bool]:
        """Return the content of the first process; the others give None."""
        import torch.distributed as dist

        box = [content]
        dist.broadcast_object_list(box, src=0)
        return cast("tuple[object, bool]", box[0])


ALONE: Final = Team()


def started() -> Team:
    """Return the team that the environment describes (``torchrun`` sets it); alone without one.

    Raises:
        RunError: If the description makes no sense.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
    texts = [os.environ.get(name, "") for name in names]
    if not texts[0] or not texts[1]:
        return ALONE
    texts[2] = texts[2] or "1"
    if not all(text.isascii() and text.isdigit() for text in texts):
        shown = ", ".join(f"{name}={text[:20]}" for name, text in zip(names, texts, strict=True))
        raise RunError(f"The environment describes no team of processes: {shown}. Use torchrun.")
    team = Team(*map(int, texts))
    if not team.rank < team.size:
        raise RunError(f"RANK is {team.rank} and WORLD_SIZE is {team.size}. Use torchrun.")
    return team if team.size > 1 else ALONE


@contextmanager
def joined(device: str | None = None) -> Iterator[Team]:
    """Connect this process with the others of its team inside the block; alone it does nothing.

    On CUDA each process has the device of its ``LOCAL_RANK`` to itself.

    Args:
        device: What will be asked for, see :func:`pruning_core.devices.chosen_device`.

    Raises:
        RunError: If the processes cannot be connected, or there are more than devices.
        ElsewhereError: If another process of the team ends inside the block.
    """
    team = started()
    if team.size == 1:
        yield team
        return
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # remarks of DDP on its own speed
    import torch
    import torch.distributed as dist

    backend = _prepared(device)
    try:
        store = _meeting_place(team)
        dist.init_process_group(
            backend, store=store, rank=team.rank, world_size=team.size, timeout=_PATIENCE
        )
    except (RuntimeError, ValueError) as error:
        raise RunError(
            f"The processes cannot be connected ({_line(error)}). Start them with torchrun, and "
            "give each machine the same --rdzv-endpoint."
        ) from None
    try:
        yield team
    except RuntimeError as error:
        if not isinstance(error, torch.distributed.DistError) and not _is_of_network(error):
            raise
        raise ElsewhereError(
            f"Another process of this run ended or cannot be reached ({_line(error)})."
        ) from None
    with suppress(RuntimeError):
        dist.destroy_process_group()


def _meeting_place(team: Team) -> "Store":
    """Return the store in which the processes find each other.

    Processes that torchrun starts again meet where the ones before them did, and would take the
    addresses of those for their own, so each start has names of its own. On several machines they
    count their starts differently; there the names stay the usual ones.
    """
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store: Store
    store, _, _ = next(rendezvous("env://", timeout=_PATIENCE))
    if team.n_local < team.size:
        return store
    return PrefixStore(f"start_{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _prepared(device: str | None) -> str:
    """Choose the device of this process and return the backend that connects such devices."""
    import torch

    from pruning_core.devices import chosen_device

    place = chosen_device(device)
    if place.type == "mps":
        raise RunError(
            "Several processes cannot share the device 'mps'. Start one process, or use --device "
            "cpu."
        )
    if place.type == "cpu":
        return "gloo"
    local, n_devices = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= n_devices:
        raise RunError(
            f"This machine has {n_devices} CUDA {'device' if n_devices == 1 else 'devices'}, and "
            f"this is its process {local + 1}. Start one process for each device "
            f"(--nproc-per-node {n_devices}), or use --device cpu."
        )
    torch.cuda.set_device(local)
    return "cpu:gloo,cuda:nccl"


def _is_of_network(error: BaseException) -> bool:
    text = str(error).lower()
    return any(word in text for word in _NETWORK_WORDS)


def _line(error: BaseException) -> str:
    """Return what an error says, in one short line without places in foreign source files."""
    text = " ".join(str(error).split())
    text = text.rpartition("] ")[2] or text
    return text.partition(". ")[0][:120]
