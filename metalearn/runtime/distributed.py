"""Several processes for one run: `torchrun --nproc-per-node 2 -m metalearn.run ...` splits each meta-batch over them.

Process 0 runs the whole experiment: it reads the command line, trains, measures, logs, saves and reports. The others
only follow: at each meta-step they are sent the meta-parameters, compute the meta-gradient of their share of the
tasks, and add it up with the rest. They hold no state: resumption, controls and signals are matters of process 0.
Collectives are gloo's on the CPU and NCCL's on CUDA.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from metalearn.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

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


class PeerLost(RuntimeError):
    """Another process of the run is gone."""


@contextmanager
def _collective() -> Iterator[None]:
    """Name the one reason for which a collective fails here."""
    try:
        yield
    except RuntimeError as error:
        raise PeerLost(f"another process of this run is gone ({' '.join(str(error).split())[:200]})") from error


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
        with _collective():
            dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        assert box[0] is not None
        return box[0]

    def all_reduce(self, values: "Sequence[Tensor]") -> "list[Tensor]":
        """Sum each tensor over all processes."""
        import torch.distributed as dist

        flat = _flat(values)
        with _collective():
            dist.all_reduce(flat)
        return _unflatten(flat, values)

    def broadcast(self, values: "Sequence[Tensor]") -> "list[Tensor]":
        """Return the tensors of process 0; the others give tensors of the same shapes."""
        import torch.distributed as dist

        flat = _flat(values)
        with _collective():
            dist.broadcast(flat, src=0)
        return _unflatten(flat, values)


@cache
def team() -> Team | None:
    """The processes of this run; None where there is only one."""
    return Team() if torchrun() else None


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


def _flat(values: "Sequence[Tensor]") -> "Tensor":
    import torch

    return torch.cat([value.flatten() for value in values])


def _unflatten(flat: "Tensor", values: "Sequence[Tensor]") -> "list[Tensor]":
    """A flat tensor in the shapes of others."""
    pieces = flat.split([value.numel() for value in values])
    return [piece.view(value.shape) for piece, value in zip(pieces, values, strict=True)]
