"""Distribution of a run over several processes: `torchrun --nproc-per-node 2 -m metalearn.run ...`.

Each meta-batch is split over the processes. Process 0 reads the command line, trains, measures, records and saves. The
others are workers: for each meta-step they receive the meta-parameters, compute the meta-gradient of their share of the
tasks, and add it to the sum. Workers keep no state, so only process 0 handles resuming, controls and signals.
Collectives use gloo on the CPU and NCCL on CUDA.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from metalearn.runtime.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

LAUNCHER = "METALEARN_LAUNCHER"  # environment variable: the command that started the processes, where not torchrun


def is_torchrun() -> bool:
    """True if torchrun started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_worker() -> bool:
    """True if this process is one of several, and not process 0."""
    return is_torchrun() and os.environ["RANK"] != "0"


def local_device(device: str, group: "ProcessGroup | None" = None) -> str:
    """Choose the CUDA device of this process and make it the current one; `cpu` stays `cpu`.

    Args:
        device: `cpu`, `cuda` or `cuda:N`.
        group: the processes of the run. Each process of a machine gets its own device.

    Raises:
        UserError: there are fewer devices than processes, or one device was named for all of them.
    """
    if device == "cpu":
        return device
    import torch

    if group is not None:
        if device != "cuda":
            raise UserError(f"device={device}: under torchrun each process needs its own device: set device=cuda")
        devices, processes = torch.cuda.device_count(), int(os.environ["LOCAL_WORLD_SIZE"])
        if devices < processes:
            raise UserError(
                f"{processes} processes but {devices} CUDA device(s): lower --nproc-per-node, or device=cpu"
            )
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    if ":" in device:  # `cuda` is the current device, and has no index to set
        torch.cuda.set_device(device)
    return device


class PeerLost(RuntimeError):
    """Another process of the run has ended."""


@contextmanager
def _collective() -> Iterator[None]:
    """Turn the failure of a collective into PeerLost; it has no other cause here."""
    try:
        yield
    except RuntimeError as error:
        raise PeerLost(f"another process of this run has ended ({' '.join(str(error).split())[:200]})") from error


class ProcessGroup:
    """The processes of a run. The constructor joins the group and waits until all processes have joined.

    Attributes:
        rank: the number of this process, 0 to size - 1.
        size: the number of processes.
        broken: True if this process was stopped in the middle of a meta-step, where the workers wait for a collective.
    """

    def __init__(self) -> None:
        import torch
        import torch.distributed as dist

        self.broken = False
        self.rank, self.size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        # Workers wait while process 0 measures and tests
        dist.init_process_group(backend, timeout=timedelta(days=7))

    def broadcast(self, *command: Any) -> None:
        """Send a command from process 0 to the workers: its name, then its arguments."""
        self._broadcast(list(command))

    def receive(self) -> list[Any]:
        """Wait for the next command of process 0."""
        return self._broadcast(None)

    def _broadcast(self, command: list[Any] | None) -> list[Any]:
        import torch
        import torch.distributed as dist

        box = [command]
        with _collective():
            dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        assert box[0] is not None
        return box[0]

    def stop_workers(self) -> None:
        """Tell the workers to exit. In a broken group they exit when this process does."""
        if not self.broken:
            self.broadcast("quit")

    def all_reduce(self, values: "Sequence[Tensor]") -> "list[Tensor]":
        """Sum each tensor over all processes."""
        import torch.distributed as dist

        flat = _flat(values)
        with _collective():
            dist.all_reduce(flat)
        return _unflatten(flat, values)

    def broadcast_tensors(self, values: "Sequence[Tensor]") -> "list[Tensor]":
        """Return the tensors of process 0; the others give tensors of the same shapes."""
        import torch.distributed as dist

        flat = _flat(values)
        with _collective():
            dist.broadcast(flat, src=0)
        return _unflatten(flat, values)


def exit_now(status: int) -> NoReturn:
    """End this process without clean-up: gloo's threads may abort one that cleans up while its peers disappear."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a closed terminal
            stream.flush()
    os._exit(status)


def _flat(values: "Sequence[Tensor]") -> "Tensor":
    import torch

    return torch.cat([value.flatten() for value in values])


def _unflatten(flat: "Tensor", values: "Sequence[Tensor]") -> "list[Tensor]":
    """Divide a flat tensor into the shapes of other tensors."""
    pieces = flat.split([value.numel() for value in values])
    return [piece.view(value.shape) for piece, value in zip(pieces, values, strict=True)]
