"""A trial: one training of this package, in the process of the study."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from itertools import count, pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from metalearn.controls.loop import Control, Paused
from metalearn.learner.learner import Learner, load
from metalearn.lifecycle import lock
from metalearn.lifecycle.launch import launch
from metalearn.lifecycle.run_folder import Invocation
from metalearn.lifecycle.setup import Setup
from metalearn.recording import checkpoint
from metalearn.runtime.console import logged
from metalearn.runtime.errors import UserError
from metalearn.search.candidate import Candidate
from metalearn.search.report_control import Report
from metalearn.search.settings import Goal

Compose = Callable[[Sequence[str]], dict[str, Any]]

SILENT = ("test=false", "pictures=none")  # a trial never looks at test classes, and draws nothing


class Trials:
    """Train configurations in folders below that of the study.

    Args:
        folder: of the study.
        compose: returns the configuration of some words of the command line.
        fixed: words of the command line that all trials share.
        goals: the objectives, entries of result.json.
        seeds: runs of each configuration.
        group: name of the study, for trackers.
        like: the parts of a run with the default settings: the trials share its data in memory.
        identity: of the study, from which trackers identify its trials: the same in all sessions and on all machines.
    """

    def __init__(
        self,
        folder: Path,
        compose: Compose,
        fixed: Sequence[str],
        goals: Sequence[Goal],
        seeds: int,
        *,
        group: str,
        identity: str,
        like: Setup | None = None,
    ):
        self._folder, self._compose, self._fixed, self._goals, self._seeds = folder, compose, fixed, goals, seeds
        self._group, self._identity, self._like = group, identity, like

    def __call__(self, candidate: Candidate) -> list[float]:
        """Train a configuration and return its scores, means over the seeds."""
        words = [*self._fixed, *candidate.overrides]
        results = []
        for index in range(self._seeds):
            place, label = self._folder / str(candidate.number), str(candidate.number)
            own: list[str] = []
            if self._seeds > 1:
                place, label = place / f"seed{index}", f"{label}-seed{index}"
                own = [f"seed={self._compose(words)['seed'] + index}"]
            results.append(self.train([*words, *own], _free(place), candidate.controls, label=label))
        for goal in self._goals:
            if goal.name not in results[0]:
                raise UserError(f"search.objectives: {goal.name}: result.json has no such entry")
        return [fmean(float(result[goal.name]) for result in results) for goal in self._goals]

    def train(self, words: Sequence[str], folder: Path, controls: Mapping[str, Control] | None = None,
              show: bool = False, label: str | None = None, role: str = "trial") -> dict[str, Any]:  # fmt: skip
        """Train in a folder, or resume the training there; return the content of result.json.

        Args:
            words: of the command line.
            folder: of the run.
            controls: to be added to its controls.
            show: print its lines; else they go to a file in `logs` beside the runs.
            label: of a trial in its study, for trackers; None for a run of the confirmation.
            role: of the run, for comparisons.
        """
        words = [*words, *SILENT]
        config = self._compose(words) | {"resume": "auto"}
        log = self._folder / "logs" / f"{folder.relative_to(self._folder).as_posix().replace('/', '_')}.txt"
        with nullcontext() if show else logged(log):
            own = label or "-".join(folder.relative_to(self._folder).parts)
            invocation = Invocation(overrides=list(words), group=self._group, identity=f"{self._identity}-{own}",
                                    role=role)  # fmt: skip
            return launch(config, folder, invocation, controls=controls or {}, like=self._like).result

    def follow(self, parts: Sequence[tuple[int, Sequence[str]]], folder: Path, role: str) -> dict[str, Any]:
        """Train with settings that change in mid-training; return the content of result.json.

        Args:
            parts: words of the command line by the meta-step from which they hold, in order; the first is 0. Their
                steps are multiples of `eval.every`.
            folder: of the run; a training there is resumed.
            role: of the run, for comparisons.
        """
        for (_, words), (end, _) in pairwise(parts):
            last = folder / "checkpoints" / checkpoint.LAST
            if last.exists() and checkpoint.read(last)["step"] >= end:
                continue
            with suppress(Paused):
                return self.train([*words, "allow_changes=true"], folder, {"part": Report(_until(end))}, role=role)
        changed = ["allow_changes=true"] if len(parts) > 1 else []
        return self.train([*parts[-1][1], *changed], folder, role=role)

    def load(self, words: Sequence[str], folder: Path) -> Learner:
        """Load the best learner of a run that `train` left in a folder.

        Classes that the command line names are trusted, others that a changed checkpoint might name are not.
        """
        named = set(_targets(self._compose(words)))
        spec = checkpoint.read(checkpoint.find(folder))["spec"]
        return load(folder, trust=set(_targets(spec)) <= named)


def _until(end: int) -> Callable[[int, float], str | None]:
    """Return what a Report calls to pause at a meta-step."""
    return lambda step, loss: f"paused for other settings from step {end} on" if step >= end else None


def _free(place: Path) -> Path:
    """Return a run folder, or `7_2` beside `7` where a worker that was thought to be lost still trains in it."""
    for number in count(1):
        folder = place if number == 1 else place.with_name(f"{place.name}_{number}")
        if not folder.exists() or lock.claim(folder):
            return folder
    raise AssertionError("numbers have no end")


def _targets(node: Any) -> Iterator[str]:
    """Yield the dotted paths of the classes in a configuration."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            if name == "_target_":
                yield str(value)
            yield from _targets(value)
