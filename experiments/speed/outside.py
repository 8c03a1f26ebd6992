"""Peers in an environment of their own: found in a folder, started, and given their task as a file."""

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import distributions
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Peer:
    """A peer of the table.

    Attributes:
        script: answers in its process.
        install: arguments of `pip install --target DIR/NAME`.
    """

    script: str
    install: str


# Torch comes from the environment of the benchmark; JAX brings its own NumPy
OUTSIDE = {
    "torchopt": Peer("peer_torchopt.py", "--no-deps torchopt optree graphviz"),
    "parallel-metalearn": Peer("peer_parallel_metalearn.py", "--no-deps parallel-metalearn"),
    "jax": Peer("peer_jax.py", "jax"),
}
ALGORITHMS = ("maml", "anil")  # those that every one of them computes here


def version(folder: Path, name: str) -> str | None:
    """The version of a peer in `folder/NAME`; None if it is not there."""
    found = distributions(name=name, path=[str(folder / name)])
    return next((one.version for one in found), None)


def missing(folder: Path | None) -> list[str]:
    """A line for each peer that is left out: how to install it."""
    where = folder or Path("DIR")
    lost = [name for name in OUTSIDE if folder is None or version(folder, name) is None]
    use = "" if folder else ", and add --peers DIR"
    return [
        f"{name} is left out: pip install --target {where / name} {OUTSIDE[name].install}{use}"
        for name in lost
    ]  # fmt: skip


class Started:
    """The process of a peer, and the pipe to it."""

    def __init__(self, folder: Path, name: str, task: Path, threads: int, double: bool = False):
        self._name = name
        self._pipe, end = Pipe()
        words = [sys.executable, str(HERE / OUTSIDE[name].script), str(task), str(end.fileno())]
        # Its path comes first, and nothing of this project; JAX takes its number of threads from NPROC
        own = {"PYTHONPATH": str(folder / name), "NPROC": str(threads), "PJRT_NPROC": str(threads)}
        self._process = subprocess.Popen(
            [*words, "double" if double else "single"], pass_fds=[end.fileno()], env=os.environ | own
        )
        end.close()

    def send(self, what: str) -> None:
        """Ask."""
        with contextlib.suppress(ConnectionError):  # a process that has ended: recv says so
            self._pipe.send(what)

    def recv(self) -> Any:
        """Wait for the answer."""
        try:
            return self._pipe.recv()
        except (EOFError, ConnectionError):
            sys.exit(f"{self._name}: its process ended with status {self._process.wait()}; its message is above")

    def join(self) -> None:
        """Wait until it has ended."""
        self._process.wait()


def checked(folder: Path, name: str, task: Path, threads: int) -> dict[str, Any]:
    """The gradient of two tasks in double precision, from a process of its own."""
    process = Started(folder, name, task, threads, double=True)
    process.send("check")
    answer: dict[str, Any] = process.recv()
    process.send("end")
    process.join()
    return answer
