"""Images of many classes in one array."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metalearn.data.cache import Packed


@dataclass(frozen=True)
class ImageSet:
    """Images of many classes, stored as uint8 0..255."""

    pixels: Tensor | np.ndarray  # uint8 [M, C, H, W], ordered by class; a memmap may stay in its file
    first: Tensor  # int64 [classes]: index in `pixels` of the first image of each class
    count: Tensor  # int64 [classes]: number of images of each class
    names: tuple[str, ...]  # of the classes
    groups: tuple[str, ...]  # group of each class, such as its alphabet; "" if there are no groups
    digest: str = ""  # SHA-256 (hex) of the pixels, if known


def from_array(pixels: np.ndarray, names: Sequence[str], groups: Sequence[str], digest: str = "") -> ImageSet:
    """Make an ImageSet of classes with equally many images.

    Args:
        pixels: uint8 [classes, images per class, H, W].
        names: of the classes.
        groups: group of each class.
        digest: SHA-256 (hex) of the pixels, if known.
    """
    classes, each, height, width = pixels.shape
    flat = pixels.reshape(classes * each, 1, height, width)
    return ImageSet(
        flat if isinstance(flat, np.memmap) else torch.from_numpy(flat),
        torch.arange(classes) * each,
        torch.full((classes,), each),
        tuple(names),
        tuple(groups),
        digest,
    )


def from_packed(packed: Packed, names: Sequence[str]) -> ImageSet:
    """Make an ImageSet of the classes `names` from a pack with the facts of metalearn.data.moments.Tally."""
    counts = torch.tensor(packed.facts["counts"], dtype=torch.int64)
    first = counts.cumsum(0) - counts
    number = {name: i for i, name in enumerate(packed.facts["classes"])}
    chosen = torch.tensor([number[name] for name in names])
    return ImageSet(packed.pixels, first[chosen], counts[chosen], tuple(names), ("",) * len(names), packed.digest)


def fingerprint(images: ImageSet, parts: Mapping[str, Sequence[str]]) -> str:
    """Return the SHA-256 (hex) of the pixels, the number of images of each class, the class names and their split."""
    state = hashlib.sha256(repr((tuple(images.pixels.shape), images.names, images.groups, dict(parts))).encode())
    state.update(images.count.numpy().tobytes())
    if images.digest:
        state.update(images.digest.encode())
    else:
        state.update(np.ascontiguousarray(images.pixels).data)
    return state.hexdigest()
