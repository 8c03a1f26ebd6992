"""Analyze what the inner loop of a trained learner changes: scores with frozen layers, and representations."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from metalearn.algorithms.parameters import MetaParameters
from metalearn.learner.freezing import Freezing
from metalearn.learner.similarity import representation_similarity
from metalearn.learner.variant import variant
from metalearn.lifecycle.trained import Prepared
from metalearn.models.layers import find_layers
from metalearn.recording.intervals import interval, paired
from metalearn.runtime.console import warn
from metalearn.runtime.device import precision_context
from metalearn.runtime.errors import UserError
from metalearn.runtime.progress import Progress
from metalearn.training.chunks import Chunks
from metalearn.training.evaluate import Score, tasks_digest


@dataclass(frozen=True)
class Analysis:
    """The analysis of one learner, checked by `of` and not computed yet."""

    prepared: Prepared
    freezing: Freezing

    @classmethod
    def of(cls, prepared: Prepared) -> "Analysis":
        """Find the layers of a learner, and the inner loops to compare.

        Raises:
            UserError: it has no inner loop, or one that adapts nothing.
        """
        trained, tasks = prepared.trained, prepared.tasks
        params = MetaParameters.of(trained.content["params"])
        without, _ = variant(trained.content["spec"], params, way=tasks.way, norm=tasks.norm, inner_steps=0)
        layers = find_layers(prepared.algorithm.model, prepared.dataset.shape)
        freezing = Freezing(prepared.algorithm, without, layers)
        freezing.check()
        return cls(prepared, freezing)

    def run(self) -> tuple[dict[str, Any], Path]:
        """Measure the learner and write the record.

        The same settings give the same folder, whose record is then written again.

        Returns:
            The content of result.json, and its folder.
        """
        prepared, sizes = self.prepared, self.prepared.sizes
        prepared.say("analyzing")
        tasks, loops = sizes["tasks"], len(self.freezing.inner_loops())
        given: dict[str, Any] = {"chunks": Chunks(prepared.algorithm), **sizes}
        algorithm, params, source = prepared.algorithm, prepared.params, prepared.source
        progress = Progress().counting("analysis", (loops + 1) * tasks)
        with precision_context(prepared.tasks.precision, prepared.device), progress as watch:
            scores = self.freezing.scores(params, source, watch=watch, **given)
            similarity = representation_similarity(
                algorithm,
                params,
                self.freezing.layers,
                source,
                watch=lambda done: watch(loops * tasks + done),
                **given,
            )
        return prepared.write("analysis", self._entries(scores, similarity))

    def _entries(self, scores: Mapping[frozenset[str], Score], similarity: Sequence[Sequence[float]]) -> dict[str, Any]:
        """The measurement as entries of result.json."""
        freezing, name = self.freezing, self.prepared.algorithm.objective.name
        whole = scores[freezing.adapted]
        if whole.nonfinite:
            warn(f"{whole.nonfinite} of {whole.tasks} tasks have non-finite outputs")
        sizes = {key: value for key, value in self.prepared.sizes.items() if key != "tasks"}
        layers = [
            {
                "layer": layer.name,
                "adapted": bool(freezing.adapted & {*layer.parameters}),
                "frozen_up_to": _compared(scores[freezing.without_first(number + 1)], whole),
                "frozen_alone": _compared(scores[freezing.without_layer(number)], whole),
                **_summarized(similarity[number]),
            }
            for number, layer in enumerate(freezing.layers)
        ]
        return {
            f"test_{name}": whole.mean,
            "test_ci95": whole.ci95,
            "test_loss": whole.loss,
            "test_tasks": whole.tasks,
            "test_nonfinite_tasks": whole.nonfinite,
            "test_scores": whole.scores,
            "test_digest": tasks_digest(self.prepared.source, **sizes),
            "without_steps": _compared(scores[frozenset()], whole),
            "layers": layers,
        }


def check_together(works: Sequence[Analysis]) -> None:
    """Raise UserError where the scores of several learners have no axis in common."""
    if len({work.prepared.algorithm.objective.name for work in works}) > 1:
        raise UserError("classification and regression: their scores cannot be drawn together; analyze them one by one")


def _compared(score: Score, whole: Score) -> dict[str, Any]:
    """A score with its interval, and its difference from that with nothing frozen."""
    difference, ci95 = paired(score.scores, whole.scores)
    return {
        "score": score.mean,
        "ci95": score.ci95,
        "difference": difference,
        "difference_ci95": ci95,
        "scores": score.scores,
    }


def _summarized(values: Sequence[float]) -> dict[str, Any]:
    """The CKA of a layer: mean and interval over the tasks in which it is defined, and their number."""
    defined = [value for value in values if math.isfinite(value)]
    return {
        "cka": fmean(defined) if defined else None,
        "cka_ci95": interval(defined, bounded=False) if len(defined) > 1 else None,
        "cka_tasks": len(defined),
    }
