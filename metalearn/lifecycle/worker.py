"""The loop of processes 1, 2, ... under torchrun: they compute their share of each meta-gradient, and no more."""

import signal
from collections.abc import Mapping
from typing import Any

from metalearn.data.base import Split
from metalearn.lifecycle.run import Experiment
from metalearn.runtime.distributed import PeerLost, ProcessGroup
from metalearn.runtime.signals import NAMES


class Worker:
    """The run of process 0 as far as meta-gradients need it."""

    def __init__(self, config: Mapping[str, Any], group: ProcessGroup):
        self.experiment = Experiment(config, group)

    def gradient(self, part: Split, step: int) -> None:
        """Take part in the meta-gradient of a meta-step."""
        if self.experiment.phase.part != part:
            self.experiment.phase = self.experiment.prepare(part)
        self.experiment.gradient(self.experiment.phase.outer.params, step)


def worker_loop() -> int:
    """Obey process 0 until it says `quit`, or is gone; return the exit status."""
    for name in NAMES:
        signal.signal(getattr(signal, name), signal.SIG_IGN)  # process 0 ends the run and tells the others
    group = ProcessGroup()
    worker: Worker | None = None
    try:
        while (command := group.receive())[0] != "quit":
            if command[0] == "begin":
                worker = Worker(command[1], group)
            else:
                assert worker is not None
                worker.gradient(*command[1:])
    except PeerLost:
        return 1
    return 0
