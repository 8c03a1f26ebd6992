"""Time of a step and memory of a process, with the standard library alone: peers in other environments use it too."""

import ctypes
import time
from collections.abc import Callable
from typing import Any


def seconds(step: Callable[[], Any]) -> float:
    """Seconds for one step."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def turn(step: Callable[[], Any]) -> float:
    """Seconds for one step, of as many as a training makes in half a second."""
    taken: list[float] = []
    while sum(taken) < 0.5:
        taken.append(seconds(step))
    return sum(taken) / len(taken)


def highest(reset: bool = False) -> float:
    """The most memory in MB that this process had, ever or since a reset.

    A reset first gives back what loading took, so that it is not counted as there already.
    """
    if reset:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:")) / 1024
