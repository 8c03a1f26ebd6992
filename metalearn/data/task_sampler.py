"""Images of many classes, and the N-way K-shot sampler over them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metalearn.data import rng
from metalearn.data.augment import NONE, Augment
from metalearn.data.base import Dataset, Examples, Split, TaskBatch
from metalearn.data.store import store_of
from metalearn.errors import UserError


@dataclass(frozen=True)
class ImageSet:
    """Images of many classes. Values are stored 0..255 and dealt as float 0..1."""

    pixels: Tensor | np.ndarray  # uint8 [M, C, H, W], the images of a class side by side; a memmap may stay in its file
    first: Tensor  # int64 [classes]: where in `pixels` a class begins
    count: Tensor  # int64 [classes]: how many images it has
    names: tuple[str, ...]  # of the classes
    groups: tuple[str, ...]  # of each class: its alphabet, or "" where there are none
    digest: str = ""  # SHA-256 of the pixels, where it is known


def from_array(pixels: np.ndarray, names: Sequence[str], groups: Sequence[str], digest: str = "") -> ImageSet:
    """An ImageSet from uint8 [classes, images a class, H, W], and their SHA-256 where it is known."""
    classes, each, height, width = pixels.shape
    flat = pixels.reshape(classes * each, 1, height, width)
    first = torch.arange(classes) * each
    return ImageSet(
        flat if isinstance(flat, np.memmap) else torch.from_numpy(flat),
        first,
        torch.full((classes,), each),
        tuple(names),
        tuple(groups),
        digest,
    )


def image_dataset(
    name: str,
    split: str,
    images: ImageSet,
    parts: dict[str, list[str]],
    *,
    rotate: Mapping[str, bool],
    within_group: bool = False,
    invert: bool = False,
    negative: bool = False,
    augment: Augment = NONE,
    mean: tuple[float, ...] | None = None,
    deviation: tuple[float, ...] | None = None,
    notice: str | None = None,
) -> Dataset:
    """A Dataset over an ImageSet.

    Args:
        parts: the class names of each split.
        rotate: which splits turn their classes.
        within_group: draw all classes of a task from one group.
        invert: the files show dark ink on light paper, and the pixels are their negative.
        negative: show the pixels' negative in pictures, for images without files; `invert` implies it.
        augment: random crops and flips, in training alone.
        mean, deviation: subtract and divide by them, by channel (of values 0..1).
        notice: what the user must not miss.
    """
    number = {class_name: i for i, class_name in enumerate(images.names)}

    common: dict[str, Any] = {"within_group": within_group, "negative": negative or invert, "mean": mean,
                              "deviation": deviation}  # fmt: skip

    def source(part: Split, seed: int, device: str) -> ImageTasks:
        classes = [number[name] for piece in part.split("+") for name in parts[piece]]
        return ImageTasks(images, classes, device=device, seed=seed, name=part, rotate=rotate[part.split("+")[0]],
                          augment=augment if part.startswith("train") else NONE, **common)  # fmt: skip

    shape = tuple(images.pixels.shape[1:])
    return Dataset(name, split, False, shape, None, source, invert=invert, notice=notice, classes=parts,
                   fingerprint=fingerprint(images, parts), mean=mean, deviation=deviation)  # fmt: skip


def fingerprint(images: ImageSet, parts: Mapping[str, Sequence[str]]) -> str:
    """SHA-256 (hex) of the pixels, the number of images of each class, the class names and their split."""
    state = hashlib.sha256(repr((tuple(images.pixels.shape), images.names, images.groups, dict(parts))).encode())
    state.update(images.count.numpy().tobytes())
    if images.digest:
        state.update(images.digest.encode())
    else:
        state.update(np.ascontiguousarray(images.pixels).data)
    return state.hexdigest()


class ImageTasks:
    """Deals N-way K-shot tasks from some classes of an ImageSet: a pure function of (seed, task id).

    Classes of a task are distinct; support and query of a class are distinct images; with `rotate`, each class of
    each task is turned by its own multiple of 90 degrees, support and query alike (MAML, Finn et al. 2017, 5.2).
    With `within_group`, all classes of a task come from one group (one alphabet).
    Training images may be augmented, each image of each task in its own way, support and query alike.
    All work is tensor indexing on the device of the images; images of a mapped file are read for each batch.
    """

    def __init__(self, images: ImageSet, classes: Sequence[int], *, device: str, seed: int, name: str, rotate: bool,
                 within_group: bool, negative: bool = False, augment: Augment = NONE,
                 mean: tuple[float, ...] | None = None, deviation: tuple[float, ...] | None = None):  # fmt: skip
        self._augment = augment
        self._mean, self._deviation = (
            None if values is None else torch.tensor(values, device=device)[:, None, None]
            for values in (mean, deviation)
        )
        self._negative, self.class_names = negative, tuple(images.names[i] for i in classes)
        self.name, self.rotate, self.within_group = name, rotate, within_group
        self.shape = tuple(images.pixels.shape[1:])
        if rotate and self.shape[1] != self.shape[2]:
            raise UserError("rotation needs square images: set data.rotate_train=false data.rotate_test=false")
        chosen = torch.tensor(classes, dtype=torch.int64)
        count = images.count[chosen]
        first = count.cumsum(0) - count
        label = torch.repeat_interleave(count)  # class of every image of this split
        rows = images.first[chosen][label] + torch.arange(len(label)) - first[label]
        self._store = store_of(images.pixels, rows, rotate, device)
        self.count, self.first, self._label = count.to(device), first.to(device), label.to(device)
        self.labels: int | None = len(classes) * (4 if rotate else 1)
        self._fewest, self._most = (int(self.count.min()), int(self.count.max())) if len(classes) else (0, 0)
        names = [images.groups[i] for i in classes]
        number = {group: i for i, group in enumerate(sorted(set(names)))}
        self._group = torch.tensor(
            [number[group] for group in names], dtype=torch.int64, device=device
        )  # of each class
        self._sizes = torch.bincount(self._group)  # classes in each group
        self._class_stream = rng.stream(seed, name, "class")
        self._group_stream = rng.stream(seed, name, "group")
        self._image_stream = rng.stream(seed, name, "image")
        self._augment_stream = rng.stream(seed, name, "augment")
        self._turn_stream = rng.stream(seed, name, "rotation")

    def check(self, way: int, shot: int, query: int) -> None:
        """Raise UserError where a task of this size cannot be dealt."""
        if way < 2:
            raise UserError(f"way={way}: classification needs at least 2")
        if way > len(self.first):
            raise UserError(f"way={way}: the {self.name} split has only {len(self.first)} classes")
        if shot + query > self._fewest:
            raise UserError(
                f"{shot} shots + {query} queries a class = {shot + query} images, but a class of the {self.name} "
                f"split has only {self._fewest}: lower shot= or query="
            )
        if self.within_group and way > (largest := int(self._sizes.max())):
            raise UserError(
                f"way={way} within one alphabet: the largest of the {self.name} split has {largest} classes"
            )

    def tasks(self, ids: Tensor, way: int, shot: int, query: int) -> TaskBatch:
        """Tasks `ids` (int64 [T]): x float [T, N*K, C, H, W] and [T, N*Q, C, H, W], labels int64 [T, N*K], [T, N*Q]."""
        chosen = self.classes(ids, way)
        each = shot + query
        keys = rng.bits(self._image_stream, ids, way, self._most)
        if self._fewest < self._most:  # a class with fewer images must not be asked for those it lacks
            absent = torch.arange(self._most, device=ids.device) >= self.count[chosen][..., None]
            keys = keys.masked_fill(absent, torch.iinfo(torch.int64).min)
        index = self.first[chosen][..., None] + keys.topk(each, dim=2).indices  # [T, N, K+Q]
        turn = rng.bits(self._turn_stream, ids, way) & 3 if self.rotate else None
        x = self._images(index, None if turn is None else turn[..., None].expand_as(index), ids)
        tasks, labels = len(ids), torch.arange(way, device=ids.device)[:, None]
        return TaskBatch(
            x[:, :, :shot].reshape(tasks, way * shot, *self.shape),
            labels.expand(way, shot).flatten().expand(tasks, -1),
            x[:, :, shot:].reshape(tasks, way * query, *self.shape),
            labels.expand(way, query).flatten().expand(tasks, -1),
            ids,
        )

    def classes(self, ids: Tensor, way: int) -> Tensor:
        """Draw the classes of tasks `ids` (int64 [T]): int64 [T, N], distinct and in random order."""
        keys = rng.bits(self._class_stream, ids, len(self.first))
        if self.within_group:
            keys = keys.masked_fill(self._group != self._draw_group(ids, way)[:, None], torch.iinfo(torch.int64).min)
        return keys.topk(way, dim=1).indices

    def viewable(self, x: Tensor) -> Tensor:
        """Turn inputs [..., C, H, W] back into pictures 0..1 as the files show them: ink black, paper white."""
        if self._mean is not None and self._deviation is not None:
            x = (x * self._deviation.to(x.device) + self._mean.to(x.device)).clamp(0, 1)
        return 1 - x if self._negative else x

    def examples(self, ids: Tensor) -> Examples:
        """Images `ids` (int64 [B]): x float [B, C, H, W]; y int64 [B], a rotated class being a class of its own."""
        index = (rng.bits(self._image_stream, ids, 1)[:, 0] & (2**62 - 1)) % len(self._label)
        label = self._label[index]
        if not self.rotate:
            return Examples(self._images(index, None, ids), label)
        turn = rng.bits(self._turn_stream, ids, 1)[:, 0] & 3
        return Examples(self._images(index, turn, ids), label * 4 + turn)

    def _draw_group(self, ids: Tensor, way: int) -> Tensor:
        """A group with enough classes for each task, all such groups alike probable."""
        keys = rng.bits(self._group_stream, ids, len(self._sizes))
        return keys.masked_fill(self._sizes < way, torch.iinfo(torch.int64).min).argmax(1)

    def _images(self, index: Tensor, turn: Tensor | None, ids: Tensor) -> Tensor:
        """Images float [*index.shape, C, H, W] as the learner sees them; index[t] belongs to ids[t]."""
        x = self._store(index.flatten(), None if turn is None else turn.flatten())
        if self._augment:
            x = self._augment(x, self._augment_stream, ids)
        x = x.to(torch.float32).div_(255)
        if self._mean is not None and self._deviation is not None:
            x = x.sub_(self._mean).div_(self._deviation)
        return x.view(*index.shape, *self.shape)
