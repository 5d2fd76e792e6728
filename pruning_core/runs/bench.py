"""Measuring beside the pages: questions go to processes of their own, answers are looked up.

Accuracy questions go to a modest process that stays; a newer one of the same visitor takes the
place of an older one. Timings and searches go to a second process. Nothing here waits.
"""

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pruning_core.helpers import helper_environment
from pruning_core.planning.recipe import Recipe

Kind = Literal[
    "accuracy",
    "latency",
    "files",
    "shares",
    "drop",
    "time",
    "scan",
    "study",
    "speed",
    "compare",
    "lesson",
    "export",
    "baseline",
]
State = Literal["waiting", "running", "done", "failed", "cancelled"]

_QUICK: Final = frozenset({"accuracy"})
_QUIET: Final = frozenset({"latency", "shares", "time", "speed"})
_KEPT: Final = 512
_PAUSE_SECONDS: Final = 0.12
_IDLE_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Question:
    """Something to measure.

    Attributes:
        kind: ``accuracy`` (what-if), ``latency`` (dense and pruned in turns), ``files`` (bytes
            by encoding), ``shares`` (time of each layer), ``drop`` and ``time`` (searches for
            a ratio), ``scan`` (sensitivity of every layer; see ``runs/scans.py``), ``study``
            (plans between accuracy and cost; see ``runs/studies.py``), ``speed`` (of a finished
            run; see ``runs/speed.py``), ``compare`` (two networks of finished runs; see
            ``runs/comparisons.py``), ``lesson`` (what a lesson shows; see ``runs/coursework.py``),
            ``export`` (a file of a finished run that is made on demand), ``baseline`` (a first look
            at the dense model on data; see ``evaluation/baseline.py``).
        recipe: What to measure.
        plan: Fingerprint of the plan, so that page and process speak of the same one; empty for
            ``shares``, ``drop``, ``time``, ``scan``, ``study``, ``speed``,
            ``compare``, ``export``, ``lesson`` and ``baseline``.
        settings: What else decides the answer; ``timed`` says that a lesson measures times.
    """

    kind: Kind
    recipe: Recipe
    plan: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Names the question; equal for all recipes that lead to the same plan."""
        recipe = self.recipe
        if self.kind == "shares":
            what: list[Any] = [recipe.model, recipe.input_shape]
        elif self.plan:
            granularities = [part.granularity for part in recipe.parts.values()]
            what = [recipe.model, recipe.input_shape, recipe.data, granularities, self.plan]
        else:
            what = [recipe.fingerprint]
        text = json.dumps([self.kind, what, dict(self.settings)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far a question is.

    Attributes:
        state: ``done`` has an answer, ``failed`` a text that says why not.
        fraction: Share of the work that is done, 0..1.
        text: What is going on, or what went wrong.
        answer: What was measured, plain data; empty until then.
    """

    state: State
    fraction: float = 0.0
    text: str = ""
    answer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_pending(self) -> bool:
        """True until there is an answer or a reason why there is none."""
        return self.state in {"waiting", "running"}


class Bench:
    """Asks processes and remembers the last 512 outcomes; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._outcomes: OrderedDict[str, Outcome] = OrderedDict()
        self._quiet: Final = threading.Lock()
        self._lanes: Final = {quick: _Lane(self, quick=quick) for quick in (True, False)}

    def ask(self, question: Question, owner: str = "") -> Outcome:
        """Make sure that ``question`` is answered some time; returns how far it is.

        Args:
            question: What to measure. An answer, and a reason why there is none, are kept.
            owner: Who asks; a newer accuracy question of the same owner replaces older ones.
        """
        lane = self._lanes[question.kind in _QUICK]
        if question.kind in _QUICK:
            lane.drop(owner, but=question.key)
        with self._lock:
            known = self._outcomes.get(question.key)
            if known is not None and known.state != "cancelled":
                self._outcomes.move_to_end(question.key)
                return known
            waiting = Outcome("waiting")
            self._set(question.key, waiting)
        lane.add(question, owner)
        return waiting

    def look(self, question: Question) -> Outcome | None:
        """Return how far a question is; None if it was never asked, or is forgotten."""
        with self._lock:
            return self._outcomes.get(question.key)

    def forget(self, question: Question) -> None:
        """Measure anew when the question is asked again."""
        with self._lock:
            known = self._outcomes.get(question.key)
            if known is not None and not known.is_pending:
                del self._outcomes[question.key]

    def cancel(self, question: Question) -> None:
        """Give a question up."""
        self._lanes[question.kind in _QUICK].cancel(question.key)

    def wait(self, question: Question, seconds: float = 60.0) -> Outcome | None:
        """Return the outcome when there is one, at the latest after ``seconds``; for programs."""
        end = time.monotonic() + seconds
        while (known := self.look(question)) is not None and known.is_pending:
            if time.monotonic() > end:
                break
            time.sleep(0.02)
        return known

    def close(self) -> None:
        """End the processes."""
        for lane in self._lanes.values():
            lane.close()

    def tell(self, question: Question, outcome: Outcome) -> None:
        """Remember how far a question is; called by the lanes."""
        with self._lock:
            self._set(question.key, outcome)

    def quiet(self, question: Question) -> "threading.Lock | _Free":
        """Return what to hold while measuring: nothing else is measured beside a timing."""
        is_timed = question.kind in _QUICK | _QUIET or question.settings.get("timed")
        return self._quiet if is_timed else _Free()

    def _set(self, key: str, outcome: Outcome) -> None:
        self._outcomes[key] = outcome
        self._outcomes.move_to_end(key)
        while len(self._outcomes) > _KEPT:
            self._outcomes.popitem(last=False)


class _Free:
    """A lock that never holds anyone up."""

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        return


@dataclass(slots=True, eq=False)
class _Job:
    question: Question
    owner: str
    number: int
    fraction: float = 0.0
    cancelled: bool = False


class _Lane:
    """One process and the thread that talks to it; both exist only while there is work."""

    def __init__(self, bench: Bench, *, quick: bool) -> None:
        self._bench = bench
        self._is_quick = quick
        self._change: Final = threading.Condition()
        self._jobs: list[_Job] = []
        self._running: _Job | None = None
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._number = 0

    def add(self, question: Question, owner: str) -> None:
        """Put a question at the end of the queue."""
        with self._change:
            self._number += 1
            self._jobs.append(_Job(question, owner, self._number))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True, name="bench")
                self._thread.start()
            self._change.notify()

    def drop(self, owner: str, *, but: str) -> None:
        """Give up the questions of ``owner`` except the one named ``but``."""
        with self._change:
            mine = [job for job in self._all() if job.owner == owner]
            for job in mine:
                if job.question.key != but:
                    self._cancel(job)

    def cancel(self, key: str) -> None:
        """Give up the question named ``key``."""
        with self._change:
            for job in self._all():
                if job.question.key == key:
                    self._cancel(job)

    def close(self) -> None:
        """End the process."""
        with self._change:
            self._jobs.clear()
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _all(self) -> list[_Job]:
        return [*self._jobs, *([self._running] if self._running else [])]

    def _cancel(self, job: _Job) -> None:
        job.cancelled = True
        self._bench.tell(job.question, Outcome("cancelled"))
        if job in self._jobs:
            self._jobs.remove(job)
        elif self._process is not None and self._is_quick:
            _send(self._process, {"cancel": job.number})
        elif self._process is not None:
            self._process.kill()

    def _work(self) -> None:
        """Answer one question after the other; end after a while without any."""
        while True:
            with self._change:
                if not self._change.wait_for(lambda: self._jobs, timeout=_IDLE_SECONDS):
                    process, self._process, self._thread = self._process, None, None
                    break
            if self._is_quick:
                time.sleep(_PAUSE_SECONDS)  # a newer position often follows at once
            with self._change:
                if not self._jobs:
                    continue
                self._running = self._jobs.pop(0)
            self._answer(self._running)
            with self._change:
                self._running = None
        if process is not None:
            process.kill()
            process.wait()

    def _answer(self, job: _Job) -> None:
        with self._bench.quiet(job.question):
            if job.cancelled:
                return
            if job.fraction == 0:
                text = "" if self._process else "starting the process that measures"
                self._tell(job, Outcome("running", text=text))
            try:
                outcome = self._converse(job)
            except OSError as error:
                outcome = Outcome("failed", text=f"Nothing can be measured now: {error.strerror}.")
        if outcome.is_pending:  # the next part comes after those who wait
            job.fraction = outcome.fraction
            with self._change:
                if not job.cancelled:
                    self._jobs.append(job)
        self._tell(job, outcome)

    def _tell(self, job: _Job, outcome: Outcome) -> None:
        if not job.cancelled:
            self._bench.tell(job.question, outcome)

    def _converse(self, job: _Job) -> Outcome:
        """Send the question and read until its answer."""
        question = job.question
        message = {
            "id": job.number,
            "kind": question.kind,
            "plan": question.plan,
            "recipe": question.recipe.model_dump(mode="json"),
            **question.settings,
        }
        with self._change:
            if job.cancelled:
                return Outcome("cancelled")
            if self._process is None or self._process.poll() is not None:
                self._process = _spawn(modest=self._is_quick)
            process = self._process
            _send(process, message)
        assert process.stdout is not None
        for line in process.stdout:
            message = json.loads(line)
            if message["id"] != job.number:
                continue
            if "progress" in message:
                self._tell(
                    job, Outcome("running", fraction=message["progress"], text=message["text"])
                )
            elif "part" in message:
                return Outcome("running", fraction=message["part"], text=message["text"])
            elif "answer" in message:
                return Outcome("done", fraction=1.0, answer=message["answer"])
            else:
                return Outcome("failed", text=message.get("error", ""))
        with self._change:
            self._process = None
        return Outcome(
            "failed",
            text=f"The process that measures ended (exit code {process.wait()}), most likely "
            "because memory ran out. Free some and try again.",
        )


def _spawn(*, modest: bool) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "pruning_core.runs.bench_worker", *(["modest"] if modest else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        bufsize=1,
        start_new_session=True,
        env=helper_environment(),
    )


def _send(process: "subprocess.Popen[str]", message: Mapping[str, Any]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()
    except (BrokenPipeError, ValueError):
        return  # the process is gone; whoever reads its answers notices
