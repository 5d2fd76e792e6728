"""Runs on a cluster, through submitit: Slurm, or for trying it out processes of this machine.

A run is a folder that submitting and computing machines share (SQLite would not do on the network
file systems clusters have)::

    cluster/<id>/recipe.json     what to do
    cluster/<id>/job.json        where it was submitted, and under which id
    cluster/<id>/export/         its checkpoints while it works, then its files
    cluster/<id>/result.json     how it ended
    cluster/<id>/submitit/       logs, and what submitit itself needs

A job that is ended by the cluster (time limit, preemption) is queued again by submitit and goes on
after its last finished epoch.
"""

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

from pruning_core.errors import PruningError, RunError
from pruning_core.folders import state_folder
from pruning_core.helpers import helper_environment
from pruning_core.planning.recipe import Recipe
from pruning_core.runs import atomic, process
from pruning_core.runs.checkpoint import checkpoint_files, epoch_of
from pruning_core.runs.keeping import FOLDER, Keeper
from pruning_core.runs.runner import Progress, copied
from pruning_core.runs.store import FINISHED, State, epochs_of, new_id
from pruning_core.team import ElsewhereError, joined

Kind = Literal["slurm", "local"]
_log: Final = logging.getLogger("pruning_core.runs.cluster")
_ID: Final = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")
_WAITING: Final = frozenset({"PENDING", "UNKNOWN", "REQUEUED", "CONFIGURING"})
_WORKING: Final = frozenset({"RUNNING", "COMPLETING", "READY", "SUSPENDED"})


def default_folder() -> Path:
    """Return where cluster runs are kept: ``PRUNING_STUDIO_CLUSTER``, else in the state folder."""
    own = os.environ.get("PRUNING_STUDIO_CLUSTER")
    return Path(own).expanduser().absolute() if own else state_folder() / "cluster"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a run needs of the cluster; None leaves it to the cluster.

    Attributes:
        minutes: Time limit.
        nodes: Machines.
        processes: Processes on each of them that share the run, see :mod:`pruning_core.team`.
        gpus: GPUs of each machine.
        cpus: Cores of each process.
        memory: Of each machine, in GB.
        partition: Of Slurm.
    """

    minutes: int = 24 * 60
    nodes: int = 1
    processes: int = 1
    gpus: int | None = None
    cpus: int | None = None
    memory: float | None = None
    partition: str | None = None

    def parameters(self, kind: Kind) -> dict[str, Any]:
        """Return the words of submitit for it."""
        found = {
            "name": "pruning",
            "timeout_min": self.minutes,
            "nodes": self.nodes,
            "tasks_per_node": self.processes,
            "gpus_per_node": self.gpus,
            "cpus_per_task": self.cpus,
            "mem_gb": self.memory,
            "slurm_partition": self.partition if kind == "slurm" else None,
        }
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Cluster:
    """Runs that submitit hands to a cluster.

    Attributes:
        kind: ``slurm``, or ``local`` for processes of this machine.
        wish: What each run needs.
        folder: Where runs are kept; every machine of the cluster sees it at the same path.
    """

    kind: Kind = "slurm"
    wish: Wish = field(default_factory=Wish)
    folder: Path = field(default_factory=default_folder)

    def submit(self, recipe: Recipe, *, device: str = "") -> str:
        """See :class:`pruning_core.runs.runner.Runner`."""
        check_installed()
        run_id = new_id(time.time())
        own = self.folder.absolute() / run_id
        try:
            (own / "export").mkdir(parents=True, mode=0o700)
            atomic.write_bytes(own / "recipe.json", recipe.to_json().encode())
        except OSError as error:
            raise RunError(
                f"The folder for cluster runs, '{self.folder}', cannot be used: {error.strerror}."
            ) from error
        # submitit's processes must neither die with this one nor hold its stdout open.
        done = subprocess.run(
            [sys.executable, "-m", "pruning_core.runs.cluster_submit", str(own)],
            input=json.dumps(
                {"kind": self.kind, "device": device, "parameters": self.wish.parameters(self.kind)}
            ),
            stdout=subprocess.DEVNULL,
            stderr=(own / "submit.log").open("w"),
            text=True,
            start_new_session=True,
            env=helper_environment(),
            check=False,
        )
        if done.returncode:
            lines = (own / "submit.log").read_text(errors="replace").strip().splitlines() or [""]
            raise RunError(f"The cluster did not take the run: {lines[-1][:200]}")
        return run_id

    def poll(self, run_id: str) -> Progress:
        """See :class:`pruning_core.runs.runner.Runner`."""
        own = self.own_folder(run_id)
        recipe = Recipe.from_json((own / "recipe.json").read_bytes())
        n_epochs = epochs_of(recipe)
        result = _read(own / "result.json")
        if result.get("state") in FINISHED:
            return Progress(run_id, result["state"], result["epoch"], n_epochs, result["error"])
        epoch = _epoch(own)
        state, error = _present(own)
        return Progress(run_id, state, epoch, n_epochs, error)

    def cancel(self, run_id: str) -> Progress:
        """See :class:`pruning_core.runs.runner.Runner`."""
        if self.poll(run_id).is_finished:
            return self.poll(run_id)
        own = self.own_folder(run_id)
        job = _read(own / "job.json")
        if job["kind"] == "local":
            if process.is_alive(job["pid"], job["mark"]):
                os.killpg(os.getpgid(job["pid"]), signal.SIGKILL)  # every file is whole or absent
        else:
            _slurm_job(own, job["job_id"]).cancel(check=False)
        _end(own, "cancelled", "")
        return self.poll(run_id)

    def fetch(self, run_id: str, folder: Path) -> tuple[Path, ...]:
        """See :class:`pruning_core.runs.runner.Runner`."""
        return copied(self.poll(run_id), self.own_folder(run_id) / "export", folder)

    def delete(self, run_id: str) -> None:
        """Remove a finished run and its files.

        Raises:
            RunError: If there is no such run, or it is not finished.
        """
        found = self.poll(run_id)
        if not found.is_finished:
            raise RunError(f"Run {run_id} is {found.state}. Cancel it before you delete it.")
        shutil.rmtree(self.own_folder(run_id), ignore_errors=True)

    def all(self) -> tuple[Progress, ...]:
        """Return all runs, the newest first."""
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        names = sorted((path.name for path in found if _ID.fullmatch(path.name)), reverse=True)
        return tuple(self.poll(name) for name in names)

    def own_folder(self, run_id: str) -> Path:
        """Return the folder of a run.

        Raises:
            RunError: If there is no such run.
        """
        own = self.folder / run_id
        if not _ID.fullmatch(run_id) or not (own / "recipe.json").is_file():
            raise RunError(f"No run is called '{run_id[:60]}' in '{self.folder}'.")
        return own


@dataclass(frozen=True, slots=True)
class Job:
    """What submitit calls on the computing machine.

    Attributes:
        folder: Of the run.
        device: See :func:`pruning_core.devices.chosen_device`; empty asks the environment there.
    """

    folder: str
    device: str

    def __call__(self) -> None:
        """Carry the run out, or go on with it."""
        import submitit

        if submitit.JobEnvironment().num_tasks > 1:
            submitit.helpers.TorchDistributedEnvironment().export(
                set_cuda_visible_devices=False, overwrite=True
            )
        carry_out(Path(self.folder), self.device)

    def checkpoint(self) -> Any:
        """Say what goes on when the cluster ends the job: the same, from its last checkpoint."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def carry_out(own: Path, device: str) -> None:
    """Carry out the run in the folder ``own``, from its last checkpoint on, and say how it ended.

    Raises:
        Exception: What was no fault of the user's, after it was noted.
    """
    try:
        ending = _carried_out(own, device)
    except ElsewhereError:
        raise  # the process that failed says why
    except MemoryError:
        _end(own, "failed", "The memory ran out. Ask for more, or choose a smaller batch size.")
    except PruningError as error:
        _end(own, "failed", str(error))
    except Exception as error:
        _end(own, "failed", f"An error inside the program ended the run ({type(error).__name__}).")
        raise
    else:
        if ending is not None:
            _end(own, "done", *ending)


def _carried_out(own: Path, device: str) -> tuple[str, int] | None:
    """Return what could not be written, and the epochs; None in processes that only helped."""
    from pruning_core.runs.events import Finished
    from pruning_core.runs.pipeline import execute, write_run

    recipe = Recipe.from_json((own / "recipe.json").read_bytes())
    with joined(device or None) as team:
        keeper = Keeper(own / "export", team, _log.warning)
        resume = keeper.newest(recipe, afresh=False)
        for event in execute(recipe, device=device or None, resume=resume, team=team):
            keeper.note(event)
            if isinstance(event, Finished) and team.is_first:
                problems = write_run(event.result, own / "export").problems
                keeper.clear()
                return " ".join(problems.values()), len(event.result.epochs)
    return None


def check_installed() -> None:
    """Refuse to go on without submitit.

    Raises:
        RunError: With the command that installs it.
    """
    if find_spec("submitit") is None:
        raise RunError(
            "Runs on a cluster need the package submitit, which is not installed. Install it "
            "with: python -m pip install -r requirements-cluster.txt"
        )


def _present(own: Path) -> tuple[State, str]:
    """Return the state of a run without a result, as the cluster knows it."""
    job = _read(own / "job.json")
    if not job:
        return "failed", "It was never submitted."
    if job["kind"] == "local":
        alive = process.is_alive(job["pid"], job["mark"])
        word = "RUNNING" if alive else "gone"
    else:
        check_installed()
        word = str(_slurm_job(own, job["job_id"]).state).partition(" ")[0].rstrip("+")
    if _read(own / "result.json").get("state") in FINISHED:  # it ended while we asked
        found = _read(own / "result.json")
        return found["state"], found["error"]
    if word in _WAITING:
        return "queued", ""
    if word in _WORKING:
        return "running", ""
    return "failed", f"The job is {word.lower()} and left no result. Its logs: {own / 'submitit'}."


def _slurm_job(own: Path, job_id: str) -> Any:
    import submitit

    return submitit.SlurmJob(folder=own / "submitit", job_id=job_id)


def _epoch(own: Path) -> int:
    """Return the epochs finished by a run that is not done: those of its newest checkpoint."""
    return max(map(epoch_of, checkpoint_files(own / "export" / FOLDER)), default=0)


def _end(own: Path, state: State, error: str, epoch: int | None = None) -> None:
    n_epochs = _epoch(own) if epoch is None else epoch
    document = {"state": state, "error": error, "epoch": n_epochs, "finished": time.time()}
    atomic.write_bytes(own / "result.json", json.dumps(document).encode())


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
