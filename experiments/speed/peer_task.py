"""A comparison as one .npz file: how it reaches a peer whose process cannot import this project. NumPy alone."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class How:
    """The algorithm and its inner loop."""

    algo: str
    steps: int
    lr: float


@dataclass(frozen=True)
class PeerTask:
    """The task of a peer: a meta-gradient to be computed.

    Attributes:
        how: the algorithm and its inner loop.
        weights: of Conv4 by name; where all tasks start.
        batch: `support_x` and `query_x` [T, B, C, H, W], `support_y` and `query_y` [T, B].
    """

    how: How
    weights: dict[str, Array]
    batch: dict[str, Array]

    def save(self, path: Path) -> None:
        """Write the file."""
        named = {f"weights/{name}": value for name, value in self.weights.items()}
        named |= {f"batch/{name}": value for name, value in self.batch.items()}
        np.savez(path, how=np.array(json.dumps(asdict(self.how))), **named)  # type: ignore[arg-type]

    def double(self, tasks: int) -> "PeerTask":
        """The first tasks alone, in double precision."""
        exact = lambda value: value.astype(np.float64) if value.dtype == np.float32 else value
        weights = {name: exact(value) for name, value in self.weights.items()}
        return PeerTask(self.how, weights, {name: exact(value[:tasks]) for name, value in self.batch.items()})


def load(path: Path) -> PeerTask:
    """Read the file."""
    with np.load(path) as file:
        part = lambda prefix: {name.removeprefix(prefix): file[name] for name in file.files if name.startswith(prefix)}
        return PeerTask(How(**json.loads(file["how"].item())), part("weights/"), part("batch/"))
