"""Where the images of a split lie: on the device as a whole, or in a mapped file from which each batch is read."""

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from metalearn.runtime import memory


class Store(Protocol):
    """Images of one split, numbered from 0."""

    def __call__(self, index: Tensor, turn: Tensor | None) -> Tensor:
        """Look up images `index` (int64 [B]), turned by `turn` (int64 [B]) times 90 degrees: uint8 [B, C, H, W]."""


class Resident:
    """All images on the device, in all four turns where any is asked for: looking one up is faster than turning it.

    Args:
        pixels: uint8 [M, C, H, W] of the data set.
        rows: which of them belong to the split, int64 [images].
        turns: keep the images in four turns.
        device: where they lie.
    """

    def __init__(self, pixels: Tensor | np.ndarray, rows: Tensor, turns: bool, device: str):
        own = (pixels[rows] if isinstance(pixels, Tensor) else torch.from_numpy(pixels[rows.numpy()])).to(device)
        self._shape = own.shape[1:]
        self._turns = 4 if turns else 1
        turned = [torch.rot90(own, turn, (-2, -1)) for turn in range(self._turns)]
        self._rows = torch.stack(turned, 1).view(-1, self._shape.numel())  # [images * turns, C*H*W]

    def __call__(self, index: Tensor, turn: Tensor | None) -> Tensor:
        """As in Store."""
        row = index if turn is None else index * self._turns + turn
        return self._rows.index_select(0, row).view(-1, *self._shape)


class Mapped:
    """Images in a mapped file: only those of a batch are read and sent to the device.

    Args:
        pixels: uint8 [M, C, H, W] of the data set.
        rows: which of them belong to the split, int64 [images].
        device: where batches go.
    """

    def __init__(self, pixels: np.ndarray, rows: Tensor, device: str):
        self._pixels, self._rows, self._device = pixels, rows, device

    def __call__(self, index: Tensor, turn: Tensor | None) -> Tensor:
        """As in Store."""
        images = torch.from_numpy(self._pixels[self._rows[index.cpu()].numpy()]).to(self._device)
        if turn is not None:
            for times in range(1, 4):
                chosen = turn == times
                images[chosen] = torch.rot90(images[chosen], times, (-2, -1))
        return images


def store_of(pixels: Tensor | np.ndarray, rows: Tensor, turns: bool, device: str) -> Store:
    """Copy nothing of a mapped data set, or of one whose turns would take more than a quarter of the memory."""
    size = math.prod(pixels.shape) * (4 if turns else 1)
    if isinstance(pixels, np.ndarray) and (isinstance(pixels, np.memmap) or 4 * size > memory.total()):
        return Mapped(pixels, rows, device)
    return Resident(pixels, rows, turns, device)
