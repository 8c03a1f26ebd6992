"""Mean and standard deviation of the pixels of some classes, from sums stored for each class."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from metalearn.data.cache import Packed


class Tally:
    """Number of images of each class, with the sums of their pixels and squared pixels per channel."""

    def __init__(self, classes: Sequence[str], channels: int):
        self._counts = dict.fromkeys(classes, 0)
        self._sums = {name: np.zeros(channels, np.int64) for name in classes}
        self._squares = {name: np.zeros(channels, np.int64) for name in classes}

    def add(self, name: str, images: np.ndarray) -> None:
        """Add images (uint8 [m, C, H, W]) of a class."""
        self._counts[name] += len(images)
        self._sums[name] += images.sum((0, 2, 3), dtype=np.int64)
        self._squares[name] += np.square(images, dtype=np.uint16).sum((0, 2, 3), dtype=np.int64)

    def facts(self) -> dict[str, Any]:
        """Return `classes`, and `counts`, `sums` and `squares` of each class, as JSON values."""
        return {
            "classes": list(self._counts),
            "counts": list(self._counts.values()),
            "sums": [value.tolist() for value in self._sums.values()],
            "squares": [value.tolist() for value in self._squares.values()],
        }


def moments(packed: Packed, classes: Sequence[str]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute mean and standard deviation of the pixels (scaled to 0..1) of these classes, per channel.

    Args:
        packed: images with the facts of Tally.
        classes: class names.
    """
    facts, (height, width) = packed.facts, packed.pixels.shape[2:]
    wanted = set(classes)
    chosen = [i for i, name in enumerate(facts["classes"]) if name in wanted]
    total = sum(facts["counts"][i] for i in chosen) * height * width
    means, deviations = [], []
    for channel in range(packed.pixels.shape[1]):
        mean = sum(facts["sums"][i][channel] for i in chosen) / total
        square = sum(facts["squares"][i][channel] for i in chosen) / total
        deviation = max(0.0, square - mean * mean) ** 0.5
        means.append(mean / 255)
        deviations.append(deviation / 255 or 1.0)  # a constant channel is only shifted
    return tuple(means), tuple(deviations)
