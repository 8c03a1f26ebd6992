"""Several processes for one run: `torchrun --nproc-per-node 2 -m metalearn.run ...` splits each meta-batch over them.

Process 0 runs the whole experiment: it reads the command line, trains, measures, logs, saves and reports. The others
only follow: at each meta-step they are sent the meta-parameters, compute the meta-gradient of their share of the
tasks, and add it up with the rest. They hold no state: resumption, controls and signals are matters of process 0.
Collectives are gloo's on the CPU and NCCL's on CUDA.
"""

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from metalearn.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from metalearn.algorithms.base import Algorithm, Meta, MetaStep
    from metalearn.data import Split
    from metalearn.data.tasks import TaskBatch

LAUNCHER = "METALEARN_LAUNCHER"  # environment variable: the command that started the processes, where not torchrun


def torchrun() -> bool:
    """Whether torchrun started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def follows() -> bool:
    """Whether this process is one of those that follow."""
    return torchrun() and os.environ["RANK"] != "0"


def local(device: str) -> str:
    """`cuda` as this process's own card, where there are several processes on a machine; it becomes the current one.

    Raises:
        UserError: there are fewer cards than processes, or one card was named for all of them.
    """
    if device == "cpu":
        return device
    import torch

    if torchrun():
        if device != "cuda":
            raise UserError(f"device={device}: under torchrun every process has a card of its own: device=cuda")
        if (cards := torch.cuda.device_count()) < (processes := int(os.environ["LOCAL_WORLD_SIZE"])):
            raise UserError(f"{processes} processes but {cards} CUDA device(s): lower --nproc-per-node, or device=cpu")
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    torch.cuda.set_device(device)
    return device


class Team:
    """The processes of a run, as one of them sees them. Joining waits for all."""

    def __init__(self) -> None:
        import torch
        import torch.distributed as dist

        self.broken = False  # this process stopped in the middle of a meta-step
        self.rank, self.size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(
            backend, timeout=timedelta(days=7)
        )  # the others wait while process 0 measures and tests

    def say(self, *command: Any) -> None:
        """From process 0 to all others."""
        self._told(list(command))

    def hear(self) -> list[Any]:
        """What process 0 says next."""
        return self._told(None)

    def _told(self, command: list[Any] | None) -> list[Any]:
        import torch
        import torch.distributed as dist

        box = [command]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        assert box[0] is not None
        return box[0]

    def gradient(self, algorithm: "Algorithm", meta: "Meta", batch: "TaskBatch") -> "MetaStep":
        """The meta-gradient of a meta-batch that all processes have drawn, of process 0's meta-parameters."""
        self.broken = True
        result = self._gradient(algorithm, meta, batch)
        self.broken = False
        return result

    def _gradient(self, algorithm: "Algorithm", meta: "Meta", batch: "TaskBatch") -> "MetaStep":
        import torch.distributed as dist

        from metalearn.algorithms.base import MetaStep

        values = [value.detach() for value in meta.values()]
        flat = _flat(values)
        dist.broadcast(flat, src=0)
        meta = dict(zip(meta, _like(flat, values), strict=True))
        tasks = len(batch.support_x)
        first, last = (tasks * rank // self.size for rank in (self.rank, self.rank + 1))
        sums = algorithm.sums(meta, type(batch)(*(field[first:last] for field in batch)))
        parts = [value for entry in sums for value in entry.values()]
        flat = _flat(parts)
        dist.all_reduce(flat)
        added = iter(_like(flat, parts))
        return algorithm.means(meta, MetaStep(*({name: next(added) for name in entry} for entry in sums)), tasks)


@cache
def team() -> Team | None:
    """The processes of this run; None where there is only one."""
    return Team() if torchrun() else None


def follow() -> int:
    """What a process does that is not process 0, until it is told to quit; returns its exit status."""
    for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(asked, signal.SIG_IGN)  # process 0 ends the run, and says so
    here = team()
    assert here is not None
    try:
        work: _Share | None = None
        while (command := here.hear())[0] != "quit":
            if command[0] == "begin":
                work = _Share(here, *command[1:])
            else:
                assert work is not None
                work.gradient(*command[1:])
    except RuntimeError as error:
        if "onnection" in str(error):  # process 0 is no more
            return 1
        raise
    return 0


def dismiss() -> None:
    """Send the other processes home, where there are any."""
    if (here := team()) is not None and not here.broken:  # else they end when this process does
        here.say("quit")


def leave(status: int) -> NoReturn:
    """End this process at once: gloo's threads may abort one that tidies up while its peers disappear."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a closed terminal
            stream.flush()
    os._exit(status)


class _Share:
    """An experiment of which only meta-gradients are computed here."""

    def __init__(self, here: Team, config: Mapping[str, Any]):
        from metalearn.experiment import Experiment

        self.here, self.experiment = here, Experiment(config)

    def gradient(self, part: "Split", step: int) -> None:
        if self.experiment.phase.part != part:
            self.experiment.phase = self.experiment.prepare(part)
        self.experiment.gradient(self.experiment.phase.outer.meta, step)


def _flat(values: "list[Tensor]") -> "Tensor":
    import torch

    return torch.cat([value.flatten() for value in values])


def _like(flat: "Tensor", values: "list[Tensor]") -> "list[Tensor]":
    """A flat tensor in the shapes of others."""
    pieces = flat.split([value.numel() for value in values])
    return [piece.view(value.shape) for piece, value in zip(pieces, values, strict=True)]
