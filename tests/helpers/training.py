"""A training of one weight."""

from types import SimpleNamespace

import torch

from metalearn.algorithms.objective import objective_for
from metalearn.algorithms.parameters import MetaGradient, MetaParameters
from metalearn.recording.record import Record
from metalearn.recording.writer import RetryingWriter
from metalearn.trackers.base import Trackers
from metalearn.training.checkpoints import Checkpoints
from metalearn.training.evaluate import Score
from metalearn.training.outer_optimizer import OuterOptimizer
from metalearn.training.trainer import Trainer


class OneWeight:
    """An algorithm whose meta-batch is the number of its step."""

    meta_batch, unit, extra_kind = 1, "tasks", "weights"
    net = SimpleNamespace(norm_parameters=set())

    def __init__(self, regression=False):
        self.objective = objective_for(regression)

    def sample(self, source, step, device):
        return step


def trainer_of(folder, *, limit, log_every, step=lambda: None, scores=None, regression=False, schedule="constant"):
    """A trainer whose gradient is 1 and whose learning rate begins at 1.

    Args:
        step: called in every meta-step.
        scores: of the measurements, in order; by default 0.5 each time.
    """

    def executor(params, batch):
        step()
        return MetaGradient({"w": torch.ones(1)}, {"loss": torch.ones(())}, [])

    folder.mkdir(exist_ok=True)
    outer = OuterOptimizer(
        optimizer={"name": "SGD", "lr": 1.0},
        schedule=schedule,
        warmup=0,
        clip=None,
        params=MetaParameters({"w": torch.zeros(1)}, {}, []),
        steps=limit,
        maximize=not regression,
    )
    record = Record(folder, Trackers({}), "mse" if regression else "accuracy", RetryingWriter())
    record.start()
    score = (lambda: 0.5) if scores is None else lambda: next(scores)
    return Trainer(
        algorithm=OneWeight(regression),
        source=None,
        outer=outer,
        executor=executor,
        record=record,
        device="cpu",
        validate=lambda params: Score(score(), 0.0, 2, [], 1.0),
        checkpoints=Checkpoints(folder, {}, RetryingWriter()),
        limit=limit,
        run_state=lambda state: {"trainer": state, "controls": {}, "first": None, "environment": {}},
        log_every=log_every,
    )
