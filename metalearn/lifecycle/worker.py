"""Workers, which are processes 1, 2, ... under torchrun: they compute their share of each meta-gradient."""

import signal
from dataclasses import dataclass

from metalearn.data.base import Split
from metalearn.lifecycle.setup import Phase, Setup, prepare, prepare_phase
from metalearn.runtime.distributed import PeerLost, ProcessGroup
from metalearn.runtime.signals import NAMES


@dataclass
class Worker:
    """The parts of the run that a worker needs.

    Args:
        setup: built from the configuration that process 0 sent.
        phase: the present training.
    """

    setup: Setup
    phase: Phase

    def gradient(self, part: Split, step: int) -> None:
        """Compute this worker's share of a meta-gradient.

        Args:
            part: the training classes of the present phase.
            step: the meta-step.
        """
        if self.phase.part != part:
            self.phase = prepare_phase(self.setup, part)
        phase = self.phase
        phase.executor(phase.outer.params, phase.algorithm.sample(phase.source, step, self.setup.device))


def worker_loop() -> int:
    """Join the process group, and obey process 0 until it sends `quit` or has ended; return the exit status."""
    for name in NAMES:
        signal.signal(getattr(signal, name), signal.SIG_IGN)  # process 0 handles signals and sends `quit`
    group = ProcessGroup()
    worker: Worker | None = None
    try:
        while (command := group.receive())[0] != "quit":
            if command[0] == "prepare":
                setup = prepare(command[1], group)
                worker = Worker(setup, setup.phase)
            else:
                assert worker is not None
                worker.gradient(*command[1:])
    except PeerLost:
        return 1
    return 0
