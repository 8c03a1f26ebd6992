"""Write the checkpoints of a training."""

from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from metalearn.algorithms.parameters import MetaParameters
from metalearn.recording.checkpoint import BEFORE, LAST, pack
from metalearn.recording.writer import RetryingWriter
from metalearn.runtime.files import write_atomically
from metalearn.training.result import RunState


class Checkpoints:
    """The folder `checkpoints/` of a run.

    A write that fails does not stop the training. It is tried again at the next write.

    Args:
        folder: of the run.
        spec: what a checkpoint says about its learner, see metalearn.learner.spec.
        writer: tries again to write files that failed.
    """

    def __init__(self, folder: Path, spec: dict[str, Any], writer: RetryingWriter):
        self.folder, self.spec, self.writer = folder / "checkpoints", spec, writer

    def save(self, file: str, params: MetaParameters, step: int) -> None:
        """Write a learner."""
        self._write(file, {"params": _content(params), "step": step}, None)

    def save_state(self, params: MetaParameters, step: int, state: RunState) -> None:
        """Write `last.pt`, from which the run can be resumed; the one before is kept as `previous.pt`."""
        self._write(LAST, {"params": _content(params), "step": step, "state": state}, self.folder / BEFORE)

    def _write(self, file: str, content: dict[str, Any], before: Path | None) -> None:
        data, path = pack({"spec": self.spec, **content}), self.folder / file
        self.writer.write(path, partial(write_atomically, path, data, before))
        self.writer.retry()


def _content(params: MetaParameters) -> dict[str, dict[str, Tensor]]:
    return params.map(lambda value: value.detach()).content()
