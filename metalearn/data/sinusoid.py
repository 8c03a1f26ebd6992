"""Sinusoid regression (Finn et al., ICML 2017, section 5.1)."""

import hashlib

import torch
from torch import Tensor

from metalearn.data import rng
from metalearn.data.base import Dataset, Examples, Split, TaskBatch
from metalearn.runtime.errors import UserError


def load(*, amplitude: list[float], phase: list[float], domain: list[float]) -> Dataset:
    """Make a data set of regression tasks y = A sin(x - phi), each with its own A and phi.

    Args:
        amplitude, phase, domain: [low, high] of the uniform distributions of A, phi (radians) and x.

    Raises:
        ValueError: bounds that are not [low, high].
    """
    for name, bounds in (("amplitude", amplitude), ("phase", phase), ("domain", domain)):
        if len(bounds) != 2 or bounds[0] > bounds[1]:
            raise ValueError(f"{name}={list(bounds)}: must be [low, high]")

    def source(part: Split, seed: int, device: str) -> SinusoidTasks:
        return SinusoidTasks(seed, part, amplitude, phase, domain)

    digest = hashlib.sha256(repr((list(amplitude), list(phase), list(domain))).encode()).hexdigest()
    return Dataset("sinusoid", "none", True, (1,), 1, source, fingerprint=digest)


class SinusoidTasks:
    """Sampler of sinusoids. The parts of the split differ in their stream of random numbers."""

    labels: int | None = None
    class_names: tuple[str, ...] = ()

    def __init__(self, seed: int, name: str, amplitude: list[float], phase: list[float], domain: list[float]):
        self._stream = rng.stream(seed, name, "sinusoid")
        self._amplitude, self._phase, self._domain = amplitude, phase, domain

    def check(self, way: int, shot: int, query: int) -> None:
        """Raise UserError unless way is 1. Any number of points can be sampled."""
        if way != 1:
            raise UserError(f"way={way}: a regression task has no classes; set way=1")

    def tasks(self, ids: Tensor, way: int, shot: int, query: int) -> TaskBatch:
        """Sample sinusoids `ids` (int64 [T]): x and y float [T, K, 1] and [T, Q, 1]; `way` is not used."""
        draws = rng.uniform(self._stream, ids, 2 + shot + query)
        x = _scale(draws[:, 2:], self._domain)[..., None]
        y = self._y(draws, x[..., 0])[..., None]
        return TaskBatch(x[:, :shot], y[:, :shot], x[:, shot:], y[:, shot:], ids)

    def examples(self, ids: Tensor) -> Examples:
        """Sample points `ids` (int64 [B]), each from another sinusoid: x and y float [B, 1]."""
        draws = rng.uniform(self._stream, ids, 3)
        x = _scale(draws[:, 2:], self._domain)
        return Examples(x, self._y(draws, x))

    def classes(self, ids: Tensor, way: int) -> Tensor:
        """Return int64 [T, 0]: a regression task has no classes."""
        return ids.new_zeros(len(ids), 0)

    def viewable(self, x: Tensor) -> Tensor:
        """Return the inputs unchanged; they are numbers, not pictures."""
        return x

    def _y(self, draws: Tensor, x: Tensor) -> Tensor:
        return _scale(draws[:, :1], self._amplitude) * torch.sin(x - _scale(draws[:, 1:2], self._phase))


def _scale(unit: Tensor, bounds: list[float]) -> Tensor:
    low, high = bounds
    return low + (high - low) * unit
