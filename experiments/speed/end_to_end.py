"""The share of a training that is not arithmetic."""

import tempfile
import time
from pathlib import Path
from typing import Any

import torch


class Clock:
    """Adds up the time that functions take."""

    def __init__(self, device: str):
        self.device, self.seconds = device, 0.0

    def timed(self, function: Any) -> Any:
        """Wrap a function."""

        def call(*arguments: Any) -> Any:
            start = time.perf_counter()
            result = function(*arguments)
            if self.device != "cpu":
                torch.cuda.synchronize()
            self.seconds += time.perf_counter() - start
            return result

        return call


class TimedOuter:
    """An outer optimizer whose steps are timed."""

    def __init__(self, outer: Any, clock: Clock):
        self._outer, self.step = outer, clock.timed(outer.step)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outer, name)


def end_to_end(device: str, steps: int) -> dict[str, Any]:
    """The share of a training's time that is neither meta-gradient nor outer step: sampling tasks, and recording."""
    from metalearn.config.compose import compose
    from metalearn.lifecycle.setup import prepare
    from metalearn.recording.record import Record
    from metalearn.recording.writer import RetryingWriter
    from metalearn.trackers.base import Trackers
    from metalearn.training.checkpoints import Checkpoints
    from metalearn.training.trainer import Trainer

    setup = prepare(compose(f"device={device}", "query=1", "algo.meta_batch=32", f"steps={steps}"))
    phase, clock = setup.phase, Clock(device)
    with tempfile.TemporaryDirectory() as folder:
        record = Record(Path(folder), Trackers({}), setup.objective.name, RetryingWriter())
        record.start()
        trainer = Trainer(
            algorithm=phase.algorithm,
            source=phase.source,
            outer=TimedOuter(phase.outer, clock),  # type: ignore[arg-type]
            executor=clock.timed(phase.executor),
            validate=None,
            record=record,
            checkpoints=Checkpoints(Path(folder), phase.spec, RetryingWriter()),
            run_state=lambda state: {"trainer": state, "controls": {}, "first": None, "environment": {}},
            device=setup.device,
            limit=steps,
            log_every=setup.settings.log_every,
        )
        trainer.train(5)
        clock.seconds, start = 0.0, time.perf_counter()
        while trainer.step < steps:
            trainer.train(steps)
        whole = time.perf_counter() - start
    return {"device": device, "data": setup.dataset.name, "share": 1 - clock.seconds / whole, "steps": steps}
