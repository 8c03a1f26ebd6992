"""The loop over the trials of a study, under the controls that also end a training.

The study is the iterated model of metalearn.controls.loop: an iteration is a finished trial, and its loss is that of
the trial. The loop keeps no state. It first walks through the trials that are finished already, in their order, so that
a resumed study stops where it would have stopped without interruption.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from metalearn import controls
from metalearn.controls.actions import Evaluate, Step
from metalearn.controls.loop import ControlLoop, Plan, Stop, check_cycle
from metalearn.search.candidate import Evaluator
from metalearn.search.records import SECONDS, counted
from metalearn.search.study import Study

PLACE = "search.control"  # the setting that holds the controls of a search
NAMES = ("trials", "best")  # of the values that controls can read
POLL = 0.5  # seconds between two looks at the trials of other workers


class StudyModel:
    """A study as an iterated model.

    Args:
        study: the study.
        evaluate: trains a configuration and returns its scores.
        check: called before each trial; raises Stopped after a signal.
        after: called after each trial.
    """

    invalid = None
    names = NAMES

    def __init__(self, study: Study, evaluate: Evaluator, check: Callable[[], None], after: Callable[[], None]):
        self._study, self._evaluate, self._check, self._after = study, evaluate, check, after
        self._seen: list[FrozenTrial] = []  # finished records, in the order of this walk
        self._numbers: set[int] = set()

    @property
    def step(self) -> int:
        """Number of trials so far; each rung of a competing trial counts."""
        return len(self._seen)

    @property
    def limit(self) -> int:
        """One more than `step` as long as there is something to do."""
        return self.step + (bool(self._unseen()) or self._study.more())

    @property
    def seconds(self) -> float:
        """Time of all trials in seconds."""
        return sum(float(record.user_attrs.get(SECONDS, 0.0)) for record in self._seen)

    @property
    def values(self) -> Mapping[str, float]:
        """Number of trials and best score so far, that of the first objective."""
        scores = [record.values[0] for record in self._seen if record.state == TrialState.COMPLETE]
        best = max if self._study.goals[0].maximize else min
        return {"trials": float(self.step)} | ({"best": best(scores)} if scores else {})

    def train(self, until: int) -> None:
        """Finish one trial, or take one that is finished already."""
        while not self._unseen():
            self._check()
            if self._study.run_next(self._evaluate):
                self._after()
            elif not self._unseen():
                if not self._study.more():
                    return
                time.sleep(POLL)  # other workers may leave a trial behind
        record = self._unseen()[0]
        self._seen.append(record)
        self._numbers.add(record.number)

    def measure(self) -> float:
        """Return the loss of the last trial; for a paused or pruned one, its last loss; for a failed one, infinity."""
        last = self._seen[-1] if self._seen else None
        value = last.value if last is not None and len(self._study.goals) == 1 else None
        return math.inf if value is None else self._study.goals[0].loss(value)

    def training_losses(self, after: int) -> list[float]:
        """Return no losses: a study has none besides its trials'."""
        return []

    def save(self, file: str) -> None:
        """Do nothing: every trial is kept by its storage."""

    def learner(self) -> Any:
        """Return the study."""
        return self._study

    def counted(self, places: Sequence[int]) -> int:
        """Return how many configurations have these places among the trials so far, as `search.trials` counts them."""
        return len(counted([self._seen[place] for place in places if place < len(self._seen)]))

    def _unseen(self) -> list[FrozenTrial]:
        return [record for record in self._study.finished() if record.number not in self._numbers]


class StudyLoop(ControlLoop):
    """The loop over a study's trials, each a cycle. Failures and further rungs of a trial do not count as trials."""

    unit = "trials"
    place = PLACE

    @property
    def number(self) -> int:
        """Number of configurations in these cycles."""
        assert isinstance(self.model, StudyModel)
        shown = {id(cycle) for cycle in self.cycles}
        return self.model.counted([place for place, cycle in enumerate(self._cycles) if id(cycle) in shown])


def run(study: Study, evaluate: Evaluator, *, criteria: Mapping[str, Any] | None = None, failures: int = 5,
        check: Callable[[], None] = lambda: None, after: Callable[[], None] = lambda: None) -> Stop:  # fmt: skip
    """Run the trials of a study until none is left or a control ends it.

    Args:
        study: the study.
        evaluate: trains a configuration and returns its scores; raises Paused where its control does.
        criteria: controls by name with their settings, such as `{"Threshold": {"value": 0.02}}`.
        failures: failed trials that are tolerated; one more ends the study.
        check: called before each trial; raises Stopped after a signal.
        after: called after each trial of this process.
    """
    model = StudyModel(study, evaluate, check, after)
    cycle = {"trial": Step(n=1), "score": Evaluate(), "failures": _Failures(study, failures), **_made(criteria or {})}
    stop = StudyLoop(model, cycle).run()
    return Stop("trials", f"all {study.trials} trials are done") if stop.control == "steps" else stop


def finish_begun(study: Study, evaluate: Evaluator, check: Callable[[], None], after: Callable[[], None]) -> None:
    """Wait until no trial is running or waiting; train those that other workers leave. None is begun.

    Args:
        study, evaluate, check, after: as for `run`.
    """
    while study.busy():
        check()
        if study.run_next(evaluate, new=False):
            after()
        else:
            time.sleep(POLL)


def verdict(study: Study, criteria: Mapping[str, Any], failures: int) -> str | None:
    """Return why the finished trials end a study, or None: for an engine that has a loop of its own.

    Args:
        study: the study.
        criteria, failures: as for `run`.
    """
    if not study.finished():
        return None
    cycle = {"trial": Step(n=1), "score": Evaluate(), "failures": _Failures(study, failures), **_made(criteria)}
    stop = StudyLoop(_Finished(study), cycle).run()
    return None if stop.control == "steps" else stop.reason


class _Finished(StudyModel):
    """The finished trials of a study, walked through again."""

    def __init__(self, study: Study):
        super().__init__(study, lambda candidate: [], lambda: None, lambda: None)
        self._count = len(study.finished())

    @property
    def limit(self) -> int:
        """Number of finished trials."""
        return self._count


def check_criteria(criteria: Mapping[str, Any]) -> None:
    """Raise UserError for controls that do not exist, lack a setting, or cannot work in a search."""
    check_cycle(Plan({"trial": Step(n=1), "score": Evaluate(), **_made(criteria)}, NAMES, PLACE))


def _made(criteria: Mapping[str, Any]) -> dict[str, controls.Control]:
    return controls.make_all(criteria, PLACE)


class _Failures(controls.Control):
    """End a study of which too many trials have failed."""

    def __init__(self, study: Study, limit: int):
        self._study, self._limit = study, limit

    def apply(self, run: ControlLoop) -> str | None:
        """Count the failed trials."""
        failed = len(self._study.failed())
        return f"{failed} trials have failed (search.failures={self._limit})" if failed > self._limit else None
