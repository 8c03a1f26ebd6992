"""The process of a peer in an environment of its own: answers the benchmark on a pipe.

It starts as `python peer_NAME.py FILE PIPE single|double`, and must not import this project.
"""

import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from clock import highest, seconds, turn
from peer_task import Array, PeerTask, load

Step = Callable[[], dict[str, Array]]
Build = Callable[[PeerTask, bool], tuple[Step, Callable[[], Any]]]


def serve(build: Build) -> None:
    """Answer on request: `check`, the gradient by name; `step`, seconds; `memory`; `compile`, seconds.

    Args:
        build: from a task, and whether in double precision, to a function that computes the meta-gradient and waits
            for it, and one that compiles it before (and may do nothing).
    """
    file, pipe, precision = Path(sys.argv[1]), Connection(int(sys.argv[2])), sys.argv[3]
    task = load(file)
    double = precision == "double"
    step, compiled = build(task.double(2) if double else task, double)
    before = highest(reset=True)
    took = seconds(compiled)
    while (asked := _next(pipe)) != "end":
        if asked == "check":
            pipe.send(step())
        elif asked == "step":
            pipe.send(turn(step))
        elif asked == "memory":
            pipe.send(highest() - before)
        elif asked == "compile":
            pipe.send(took)


def _next(pipe: Connection) -> str:
    """The next request; the end if the benchmark is gone."""
    try:
        asked: str = pipe.recv()
    except EOFError:
        return "end"
    return asked
