"""A child process for each file of a stranger: little memory, little time, no network of its own.

A helper process imports PyTorch once and then forks: a child a request, under limits of the
operating system (address space, processor time, size of files), killed when its time is over. What
a child does cannot reach the server but through the files it writes and one line of JSON.

    python -m pruning_core.loading.intake.sandbox
"""

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Final

from pruning_core.errors import DataError, PruningError
from pruning_core.helpers import helper_environment

SECONDS: Final = 8.0
_BYTES_A_SECOND: Final = 25_000_000
_MEMORY: Final = 900_000_000
_ANSWER: Final = 8_000_000
_START_SECONDS: Final = 120.0


class Sandbox:
    """The helper process, started when it is first needed, and again if it should have died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the helper without waiting for it."""
        with self._lock:
            self._running()

    def ask(
        self,
        task: str,
        paths: Mapping[str, Path],
        target: Path,
        options: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return what ``task`` finds out about the files, in a child of its own.

        Args:
            task: A key of ``_TASKS``.
            paths: Where each file lies, by the name it was given.
            target: Where to write.
            options: What else the task takes, plain data.

        Raises:
            PruningError: What the child says is wrong with the files, or that it was ended.
        """
        size = sum(path.stat().st_size for path in paths.values())
        question = {
            "task": task,
            "paths": {name: str(path.absolute()) for name, path in paths.items()},
            "target": str(target.absolute()),  # the helper works in another folder
            "size": size,
            "options": dict(options or {}),
        }
        with self._lock:
            process = self._running()
            answer = _exchange(process, json.dumps(question), _seconds(size) + _START_SECONDS)
            if answer is None:
                process.kill()
                self._process = None
        if answer is None:
            raise DataError("The helper that reads files has ended. Try the file again.")
        if "refused" in answer:
            raise DataError(answer["refused"])
        result: dict[str, Any] = answer["result"]
        return result

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pruning_core.loading.intake.sandbox"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd="/",
                env=helper_environment() | {"OMP_NUM_THREADS": "1"},
            )
        return self._process


def _exchange(process: "subprocess.Popen[str]", line: str, seconds: float) -> dict[str, Any] | None:
    """Send a line and return the answer; None when there is none in time."""
    if process.stdin is None or process.stdout is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        process.stdin.write(line + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], seconds)
        answer: dict[str, Any] = json.loads(process.stdout.readline()) if ready else {}
        return answer or None
    return None


def _seconds(size: int) -> float:
    return SECONDS + size / _BYTES_A_SECOND


def serve(questions: IO[str], answers: IO[str]) -> None:
    """Answer questions, one a line, until there are no more."""
    import torch

    import pruning_core.loading.intake.data_files
    import pruning_core.loading.intake.onnx_files
    import pruning_core.loading.intake.reading  # noqa: F401

    torch.set_num_threads(1)
    for line in questions:
        question = json.loads(line)
        answers.write(json.dumps(_in_child(question)) + "\n")
        answers.flush()


def _in_child(question: dict[str, Any]) -> dict[str, Any]:
    """Fork, let the child answer under limits, and return what it says."""
    seconds = _seconds(question["size"])
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _answer_and_exit(question, writing, seconds)
    os.close(writing)
    text, in_time = _read_all(reading, time.monotonic() + seconds)
    os.close(reading)
    if not in_time:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not in_time or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return {"refused": f"The file was not read within {seconds:.0f} s, so it is not opened."}
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError:
        return {
            "refused": "The process that read the file was ended by the system: the file needs too "
            "much memory or is damaged. Nothing was opened."
        }
    return found


def _read_all(descriptor: int, end: float) -> tuple[bytes, bool]:
    """Return what is written until the other side closes, and whether that was in time."""
    parts: list[bytes] = []
    while True:
        left = end - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            return b"", False
        part = os.read(descriptor, 1 << 16)
        if not part:
            return b"".join(parts), True
        parts.append(part)
        if sum(map(len, parts)) > _ANSWER:
            return b"", False


def _answer_and_exit(question: dict[str, Any], writing: int, seconds: float) -> None:
    """Carry a task out and end this process, whatever happens."""
    answer: dict[str, Any]
    try:
        _let_go()
        _limit(question["size"], seconds)
        task = _TASKS[question["task"]]
        paths = {name: Path(path) for name, path in question["paths"].items()}
        result = task(paths, Path(question["target"]), **question.get("options", {}))
        answer = {"result": result}
    except PruningError as error:
        answer = {"refused": str(error)}
    except MemoryError:
        answer = {"refused": "The file needs more memory than a file may. Nothing was opened."}
    except Exception as error:  # whatever a library raises at a file that somebody made
        answer = {
            "refused": f"The file cannot be read ({type(error).__name__}); it is damaged. Download "
            "or save it again."
        }
    with contextlib.suppress(OSError, ValueError), os.fdopen(writing, "wb") as stream:
        stream.write(json.dumps(answer).encode())
    os._exit(0)


def _let_go() -> None:
    """Leave the helper's questions and answers alone: a child has a pipe of its own."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(nothing, descriptor)
    os.close(nothing)


def _limit(size: int, seconds: float) -> None:
    """Limit what this process may use: beyond what it has, the file and a fixed room to work."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    memory = pages * os.sysconf("SC_PAGE_SIZE") + 2 * size + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 2))
    written = max(8 * size, 600_000_000) + 4_000_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (written, written))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(5)


def _weights(paths: Mapping[str, Path], target: Path) -> dict[str, Any]:
    from pruning_core.loading.intake.reading import read_upload

    return read_upload(paths, target)


def _data(
    paths: Mapping[str, Path], target: Path, shape: list[int] | None, task: str | None = None
) -> dict[str, Any]:
    from pruning_core.loading.intake.data_files import read_data

    return read_data(paths, target, tuple(shape) if shape else None, task)


_TASKS: Final[dict[str, Callable[..., dict[str, Any]]]] = {"weights": _weights, "data": _data}
SANDBOX: Final = Sandbox()

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(sys.stdin, sys.stdout)
