"""Processes: which one is which (a reused id is never mistaken), ending one, its threads."""

import os
import signal
import subprocess
from pathlib import Path

_PROC = Path("/proc")


def start_mark(pid: int) -> str | None:
    """Return a text that names this very process, or None when no living process has the id.

    The text holds the boot and the start time in clock ticks (or the start date, without
    ``/proc``); it does not depend on the wall clock. A zombie counts as dead.
    """
    if not (_PROC / "self" / "stat").exists():
        return _start_by_ps(pid)
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    if fields[0] in {"Z", "X"}:
        return None
    return f"{_boot()}:{fields[19]}"


def is_alive(pid: int | None, mark: str | None) -> bool:
    """Tell whether the process that had ``pid`` and ``mark`` is still running."""
    return pid is not None and mark is not None and start_mark(pid) == mark


def kill(pid: int, mark: str) -> None:
    """End the process and its group, if it is still the one that ``mark`` names.

    ``pid`` leads its own group (a worker is started in a session of its own).
    """
    if is_alive(pid, mark) and os.getpgid(pid) == pid:
        os.killpg(pid, signal.SIGKILL)


def default_threads(n_processes: int = 1) -> int:
    """Return the threads a run computes with: all cores but one, at least one.

    Page, command line and notebook use the same number, because other numbers give other bits.
    Several processes of one run on this machine divide its cores between them.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = cores or 1
    return max(1, cores - 1 if n_processes == 1 else cores // n_processes)


def _boot() -> str:
    try:
        return (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text("ascii").strip()[:8]
    except OSError:
        return "boot"


def _start_by_ps(pid: int) -> str | None:
    answer = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout.strip() or None
