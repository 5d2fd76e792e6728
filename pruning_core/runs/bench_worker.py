"""The process that measures for the pages: ``python -m pruning_core.runs.bench_worker``.

It reads questions from its input and writes answers to its output, one JSON object a line, and ends
when its input does. Models, traces and scores are kept between questions.
"""

import contextlib
import json
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict
from typing import Any, Final, TextIO, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from pruning_core.comparing.compare import compare
from pruning_core.encodings import stored_sizes
from pruning_core.errors import DataError, PruningError, RunError
from pruning_core.evaluation import latency, search, sensitivity, tradeoff, whatif
from pruning_core.evaluation.baseline import baseline
from pruning_core.evaluation.evaluate import statistics_of
from pruning_core.evaluation.stopping import StoppedError, check_stop
from pruning_core.exporting.export import export
from pruning_core.exporting.reopen import open_run
from pruning_core.lessons import LESSONS
from pruning_core.loading.dataset import Dataset
from pruning_core.loading.model import LoadedModel, data_for, load_model
from pruning_core.loading.permitted import is_permitted
from pruning_core.planning.plan import Plan
from pruning_core.planning.recipe import Recipe
from pruning_core.planning.resolve import resolve
from pruning_core.runs import comparisons, coursework, scans, speed, studies
from pruning_core.runs.environment import processor
from pruning_core.runs.process import default_threads
from pruning_core.runs.setup import Setup
from pruning_core.runs.store import Store
from pruning_core.scoring.score import Scores, score
from pruning_core.steps import run_to_end
from pruning_core.surgery.prune import prune
from pruning_core.tracing.network import Network
from pruning_core.tracing.trace import trace

Result = TypeVar("Result")
Report = Callable[[float, str], None]
Answer = dict[str, Any]
Steps = Generator[tuple[float, Any], None, None]

_MODELS_KEPT: Final = 2
_SEARCH_SECONDS: Final = 0.6
_PART_SECONDS: Final = 2.0
_log: Final = logging.getLogger("pruning_core.runs.bench_worker")


class UnfinishedError(Exception):
    """A part of a long answer is done; whoever asks asks again for the next one."""

    def __init__(self, share: float, text: str) -> None:
        super().__init__(text)
        self.share = share
        self.text = text


class Subject:
    """One model with everything that is worth keeping between questions."""

    def __init__(self, recipe: Recipe) -> None:
        self.model: LoadedModel = load_model(
            recipe.model, input_shape=recipe.input_shape, allow_python=is_permitted(recipe.model)
        )
        self.network: Network = trace(self.model.module, self.model.inputs)
        self._scores: tuple[str, Scores] | None = None
        self._dense: dict[tuple[str, int], NDArray[np.float64]] = {}
        self._samples: dict[str, int] = {}

    def scores(self, recipe: Recipe) -> Scores:
        """Return the scores of the recipe; those of the last settings are kept."""
        settings = recipe.score_settings
        if self._scores is None or self._scores[0] != settings:
            self._scores = settings, score(self.model, self.network, recipe)
        return self._scores[1]

    def plan(self, recipe: Recipe) -> Plan:
        """Return the plan of the recipe."""
        return resolve(recipe, self.network, self.scores(recipe))

    def data(self, recipe: Recipe) -> Dataset:
        """Return the data to measure on.

        Raises:
            DataError: If there are none, or they do not fit.
        """
        key = recipe.data or self.model.data
        if key is None:
            raise DataError(
                "No data set is known for this model, so its accuracy cannot be measured here."
            )
        return data_for(self.model, key)

    def dense(self, data: Dataset, n: int) -> NDArray[np.float64]:
        """Return ``[n, K]`` statistics of the dense model's answers to validation examples."""
        known = self._dense.get((data.key, n))
        if known is None:
            known = statistics_of(self.model.module, data.validation.first(n))
            self._dense[data.key, n] = known
        return known

    def samples(self, recipe: Recipe, plan: Plan, data: Dataset) -> tuple[int, float]:
        """Return how many examples are quick enough, 0 if none are, and the expected seconds."""
        known = self._samples.get(recipe.granularity)
        if known:
            return known, 0.0
        expected = 0.0
        for n in whatif.SAMPLES:
            expected = whatif.expected_seconds(self.model, self.network, plan, data, n)
            if expected < whatif.QUICK_SECONDS:
                self._samples[recipe.granularity] = n
                return n, expected
        return 0, whatif.expected_seconds(self.model, self.network, plan, data, whatif.SAMPLES[0])


class Bench:
    """Answers questions, one after the other.

    Args:
        is_cancelled: Tells whether the question in work is no longer wanted.
    """

    def __init__(self, is_cancelled: Callable[[], bool]) -> None:
        self._is_cancelled = is_cancelled
        self._subjects: dict[tuple[Any, ...], Subject] = {}
        self._steps: dict[int, Steps] = {}
        self._kinds: Mapping[str, Callable[[Mapping[str, Any], Recipe, Report], Answer]] = {
            "accuracy": self._accuracy,
            "latency": self._latency,
            "files": self._files,
            "shares": self._shares,
            "drop": self._drop,
            "time": self._time,
            "scan": self._scan,
            "study": self._study,
            "speed": self._speed,
            "compare": self._compare,
            "lesson": self._lesson,
            "export": self._export,
            "baseline": self._baseline,
        }

    def answer(self, question: Mapping[str, Any], report: Report) -> Answer:
        """Return the answer to one question; see :class:`pruning_core.runs.bench.Question`."""
        torch.set_num_threads(int(question.get("threads") or default_threads()))
        recipe = Recipe.from_json(json.dumps(question["recipe"]))
        return self._kinds[question["kind"]](question, recipe, report)

    def _subject(self, recipe: Recipe) -> Subject:
        key = (recipe.model, recipe.input_shape)
        subject = self._subjects.pop(key, None) or Subject(recipe)
        self._subjects[key] = subject
        while len(self._subjects) > _MODELS_KEPT:
            del self._subjects[next(iter(self._subjects))]
        return subject

    def _planned(self, question: Mapping[str, Any], recipe: Recipe) -> tuple[Subject, Plan]:
        subject = self._subject(recipe)
        plan = subject.plan(recipe)
        if plan.fingerprint != question["plan"]:
            raise RunError(
                "The plan that would be measured is not the one on the screen. Load the page again."
            )
        return subject, plan

    def _accuracy(self, question: Mapping[str, Any], recipe: Recipe, _: Report) -> Answer:
        subject, plan = self._planned(question, recipe)
        data = subject.data(recipe)
        n, seconds = subject.samples(recipe, plan, data)
        if not n and not question.get("n"):
            return {"too_long": seconds}
        n = min(int(question.get("n") or n), len(data.validation))
        measured = whatif.what_if(
            subject.model,
            subject.network,
            plan,
            data,
            n=n,
            dense=subject.dense(data, n),
            should_stop=self._is_cancelled,
        )
        return asdict(measured)

    def _baseline(self, _: Mapping[str, Any], recipe: Recipe, __: Report) -> Answer:
        subject = self._subject(recipe)
        data = subject.data(recipe)
        return asdict(baseline(subject.model.module, data, should_stop=self._is_cancelled))

    def _latency(self, question: Mapping[str, Any], recipe: Recipe, report: Report) -> Answer:
        subject, plan = self._planned(question, recipe)
        pruned = prune(subject.model, subject.network, plan)
        found = []
        sizes = question["batch_sizes"]
        for number, size in enumerate(sizes):
            steps = latency.compare(
                subject.model.module,
                pruned.module,
                subject.model.inputs,
                batch_size=size,
                seconds=question["seconds"],
            )
            word = "sample" if size == 1 else "samples"

            def told(
                share: float, text: str = f"{size} {word} at a time", number: int = number
            ) -> None:
                report((number + share) / len(sizes), text)

            found.append(self._finished(steps, told))
        return {
            "device": processor(),
            "form": pruned.form,
            "comparisons": [asdict(one) | {"verdict": one.verdict} for one in found],
        }

    def _files(self, question: Mapping[str, Any], recipe: Recipe, _: Report) -> Answer:
        subject, plan = self._planned(question, recipe)
        pruned = prune(subject.model, subject.network, plan)
        return {"sizes": stored_sizes(subject.network, plan, pruned.module), "form": pruned.form}

    def _shares(self, question: Mapping[str, Any], recipe: Recipe, report: Report) -> Answer:
        subject = self._subject(recipe)
        steps = latency.time_shares(
            subject.network, batch_size=question["batch_size"], seconds=question["seconds"]
        )
        shares = self._finished(steps, lambda share: report(share, "watching the dense model"))
        return {"device": processor(), "threads": torch.get_num_threads(), "shares": shares}

    def _drop(self, question: Mapping[str, Any], recipe: Recipe, report: Report) -> Answer:
        subject = self._subject(recipe)
        data, plan = subject.data(recipe), subject.plan(recipe)
        n = subject.samples(recipe, plan, data)[0] or whatif.SAMPLES[-1]
        n = min(n, len(data.validation))
        dense = subject.dense(data, n)
        last: list[whatif.WhatIf] = []

        def lost(plan: Plan) -> float:
            last[:] = [
                whatif.what_if(
                    subject.model,
                    subject.network,
                    plan,
                    data,
                    n=n,
                    dense=dense,
                    should_stop=self._is_cancelled,
                )
            ]
            return round(last[0].points_lost, 6)

        steps = search.largest_within_drop(
            recipe,
            subject.network,
            subject.scores(recipe),
            lost,
            question["limit"],
            data.task.metrics[0],
        )
        metric = data.task.metrics[0]
        return self._searched(steps, report, f"{metric.loss_unit} lost", 14) | {"n": n}

    def _time(self, question: Mapping[str, Any], recipe: Recipe, report: Report) -> Answer:
        subject = self._subject(recipe)

        def milliseconds(plan: Plan) -> float:
            pruned = prune(subject.model, subject.network, plan).module
            steps = latency.compare(
                subject.model.module,
                pruned,
                subject.model.inputs,
                batch_size=question["batch_size"],
                seconds=_SEARCH_SECONDS,
            )
            return self._finished(steps, lambda _: None).pruned.median_ms

        steps = search.smallest_within_time(
            recipe, subject.network, subject.scores(recipe), milliseconds, question["limit"]
        )
        return self._searched(steps, report, "ms", 13) | {
            "device": processor(),
            "threads": torch.get_num_threads(),
        }

    def _speed(self, question: Mapping[str, Any], _: Recipe, report: Report) -> Answer:
        """Measure a finished run in every runtime, and keep the answer in its folder."""
        folder = Store().folder(question["run"]) / "export"
        cases = speed.Cases(
            tuple(question["backends"]),
            tuple(question["batch_sizes"]),
            tuple(question["by_threads"]),
            question["seconds"],
        )
        report(0.0, "opening the run")
        steps = speed.measure_speed(open_run(folder, allow_python=is_permitted), cases)
        found = self._finished(steps, lambda step: report(*step))
        speed.save_speed(found, folder)
        return found

    def _export(self, question: Mapping[str, Any], _: Recipe, report: Report) -> Answer:
        """Write one file of a finished run into its folder."""
        report(0.0, "opening the run")
        folder = Store().folder(question["run"]) / "export"
        path = export(folder, question["format"], allow_python=is_permitted)
        return {"file": path.name, "bytes": path.stat().st_size}

    def _compare(self, question: Mapping[str, Any], _: Recipe, report: Report) -> Answer:
        """Compare two networks of finished runs, and keep the answer."""
        pair = comparisons.Pair(*(comparisons.Member(**side) for side in question["sides"]))
        steps = compare(
            *pair.sides(Store()), allow_python=is_permitted, should_stop=self._is_cancelled
        )
        comparisons.save(pair, self._finished(steps, lambda step: report(*step)))
        return {}

    def _lesson(self, question: Mapping[str, Any], _: Recipe, report: Report) -> Answer:
        """Measure what a lesson shows, and keep it on disk; or what came of an attempt."""
        lesson = LESSONS[question["lesson"]]
        if lesson.attempt is not None and "attempt" in question:
            tried = self._finished(lesson.attempt(question["attempt"]), lambda step: report(*step))
            return {"found": dict(tried)}
        self._finished(coursework.kept(lesson), lambda step: report(*step))
        return {}

    def _scan(self, question: Mapping[str, Any], recipe: Recipe, report: Report) -> Answer:
        """Measure some points of a sensitivity scan; the rest is asked for again."""

        def steps() -> Steps:
            setup, quick = self._setup(sensitivity.alone(recipe, "", 0.0))
            return scans.carry_out(
                setup, n=min(scans.EXAMPLES, quick), should_stop=self._is_cancelled
            )

        def told(point: sensitivity.Point) -> str:
            return f"{point.site or '(model)'} without {100 * point.ratio:.0f} %"

        return self._in_parts(question["id"], steps, told, report)

    def _study(self, question: Mapping[str, Any], recipe: Recipe, report: Report) -> Answer:
        """Measure some plans of a search; the rest is asked for again."""

        def steps() -> Steps:
            setup, quick = self._setup(recipe)
            return studies.carry_out(
                setup,
                question["cost"],
                n_trials=question["n_trials"],
                n=min(studies.EXAMPLES, quick),
                should_stop=self._is_cancelled,
            )

        def told(trial: tradeoff.Trial) -> str:
            metric = self._subject(recipe).data(recipe).task.metrics[0]
            return f"plan {trial.number + 1}: {metric.name} {metric.text(trial.accuracy, 1)}"

        return self._in_parts(question["id"], steps, told, report)

    def _setup(self, recipe: Recipe) -> tuple[Setup, int]:
        """Return what measures plans of the recipe, and how many examples are quick enough."""
        subject = self._subject(recipe)
        data = subject.data(recipe)
        scores = subject.scores(recipe)
        quick, _ = subject.samples(recipe, subject.plan(recipe), data)
        setup = Setup(recipe, subject.model, subject.network, scores, data)
        return setup, quick or whatif.SAMPLES[-1]

    def _in_parts(
        self, number: int, begin: Callable[[], Steps], told: Callable[[Any], str], report: Report
    ) -> Answer:
        """Carry steps out for two seconds; then others have their turn.

        Raises:
            UnfinishedError: If there is more to do, for when the same question comes again.
        """
        steps = self._steps.pop(number, None) or begin()
        began = time.monotonic()
        for share, found in steps:
            if time.monotonic() - began > _PART_SECONDS:
                self._steps[number] = steps
                raise UnfinishedError(share, told(found))
            report(share, told(found))
        return {}

    def _searched(self, steps: search.Searching, report: Report, unit: str, about: int) -> Answer:
        """Carry a search out, reporting each plan it measured; ``about`` so many are usual."""
        told = 0

        def tell(attempt: search.Attempt) -> None:
            nonlocal told
            told += 1
            report(
                min(0.97, told / about),
                f"{100 * attempt.ratio:.1f} % removed: {attempt.value:.3g} {unit}",
            )

        result = self._finished(steps, tell)
        found = asdict(result.found) if result.found else None
        attempts = [asdict(attempt) for attempt in result.attempts]
        return {"found": found, "sentence": result.sentence, "attempts": attempts}

    def _finished(self, steps: Generator[Any, None, Result], tell: Callable[[Any], None]) -> Result:
        """Run a generator to its end, unless the question is cancelled; return its result."""

        def told(progress: Any) -> None:
            tell(progress)
            check_stop(self._is_cancelled)

        check_stop(self._is_cancelled)
        return run_to_end(steps, told)


def main(arguments: list[str]) -> int:
    """Answer questions until the input ends; ``modest`` lets everyone else go first."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    if "modest" in arguments:
        with contextlib.suppress(OSError):
            os.nice(5)
    # Whatever a user's model prints must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    questions: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    cancelled: set[int] = set()
    threading.Thread(target=_read, args=(questions, cancelled), daemon=True).start()
    current = [0]
    bench = Bench(lambda: current[0] in cancelled)
    while True:
        question = questions.get()
        current[0] = question["id"]
        _reply(bench, question, answers)
        cancelled.discard(question["id"])


def _read(questions: "queue.SimpleQueue[dict[str, Any]]", cancelled: set[int]) -> None:
    """Hand lines of the input on; when it ends, whoever asks is gone and so is this process."""
    for line in sys.stdin:
        message = json.loads(line)
        if "cancel" in message:
            cancelled.add(message["cancel"])
        else:
            questions.put(message)
    os._exit(0)


def _reply(bench: Bench, question: Mapping[str, Any], answers: TextIO) -> None:
    """Write progress and then one answer, or the sentence why there is none."""

    def say(**message: Any) -> None:
        answers.write(json.dumps({"id": question["id"], **message}) + "\n")

    try:
        answer = bench.answer(question, lambda share, text: say(progress=share, text=text))
    except StoppedError:
        say(cancelled=True)
    except UnfinishedError as part:
        say(part=part.share, text=part.text)
    except PruningError as error:
        say(error=str(error))
    except MemoryError:
        say(error="The memory ran out while measuring. Free some and try again.")
    except Exception as error:
        _log.exception("the question could not be answered")
        say(error=f"Measuring failed ({type(error).__name__}); the server's log has the details.")
    else:
        say(answer=answer)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
