"""Storage of the images of a split: all on the device, or in a mapped file from which each batch is read."""

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from metalearn.runtime import memory


class Store(Protocol):
    """Images of one split, numbered from 0."""

    def __call__(self, index: Tensor, turn: Tensor | None) -> Tensor:
        """Look up images `index` (int64 [B]), rotated by `turn` (int64 [B]) times 90 degrees: uint8 [B, C, H, W]."""


class Resident:
    """Store with all images on the device, and all four rotations precomputed if any is used.

    Args:
        pixels: uint8 [M, C, H, W], the whole data set.
        rows: int64 [images], indices of the images of the split.
        turns: precompute the four rotations.
        device: device of the images.
    """

    def __init__(self, pixels: Tensor | np.ndarray, rows: Tensor, turns: bool, device: str):
        own = (pixels[rows] if isinstance(pixels, Tensor) else torch.from_numpy(pixels[rows.numpy()])).to(device)
        self._shape = own.shape[1:]
        self._turns = 4 if turns else 1
        turned = [torch.rot90(own, turn, (-2, -1)) for turn in range(self._turns)]
        self._rows = torch.stack(turned, 1).view(-1, self._shape.numel())  # [images * turns, C*H*W]

    def __call__(self, index: Tensor, turn: Tensor | None) -> Tensor:
        """Look up images; see Store."""
        row = index if turn is None else index * self._turns + turn
        return self._rows.index_select(0, row).view(-1, *self._shape)


class Mapped:
    """Store with the images in a mapped file, from which those of a batch are read and copied to the device.

    Args:
        pixels: uint8 [M, C, H, W], the whole data set.
        rows: int64 [images], indices of the images of the split.
        device: device of the batches.
    """

    def __init__(self, pixels: np.ndarray, rows: Tensor, device: str):
        self._pixels, self._rows, self._device = pixels, rows, device

    def __call__(self, index: Tensor, turn: Tensor | None) -> Tensor:
        """Look up images; see Store."""
        images = torch.from_numpy(self._pixels[self._rows[index.cpu()].numpy()]).to(self._device)
        if turn is not None:
            for times in range(1, 4):
                chosen = turn == times
                images[chosen] = torch.rot90(images[chosen], times, (-2, -1))
        return images


def make_store(pixels: Tensor | np.ndarray, rows: Tensor, turns: bool, device: str) -> Store:
    """Make a Mapped store if the data set is mapped or needs over a quarter of the memory, otherwise a Resident one."""
    size = math.prod(pixels.shape) * (4 if turns else 1)
    if isinstance(pixels, np.ndarray) and (isinstance(pixels, np.memmap) or 4 * size > memory.total()):
        return Mapped(pixels, rows, device)
    return Resident(pixels, rows, turns, device)
