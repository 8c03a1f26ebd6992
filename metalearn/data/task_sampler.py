"""Sampler of N-way K-shot tasks over images, and the data sets made with it."""

from collections.abc import MutableMapping, Sequence
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from metalearn.config.instantiate import check
from metalearn.data import rng
from metalearn.data.augment import NONE, Augment
from metalearn.data.base import Dataset, Examples, Split, TaskBatch
from metalearn.data.image_set import ImageSet, fingerprint
from metalearn.data.store import Store, make_store
from metalearn.runtime.device import resolve_device
from metalearn.runtime.errors import UserError


class ImageTasks:
    """Sampler of N-way K-shot tasks from some classes of an ImageSet; a pure function of (seed, task id).

    The classes of a task are distinct, and so are the support and query images of a class. Sampling is tensor indexing
    on the device of the images; images of a mapped file are read for each batch.

    Args:
        images: images of all classes.
        classes: indices of the classes to sample from.
        device: device of the sampled tasks.
        seed: of the random numbers.
        name: of the part of the split; parts have different random numbers.
        rotate: rotate each class of each task by a random multiple of 90 degrees, the same for its support and query
            images (MAML, Finn et al. 2017, section 5.2).
        within_group: draw all classes of a task from one group, such as an alphabet.
        negative: show the negative of the pixels in pictures.
        augment: random crops and flips, drawn for each image of each task.
        mean, deviation: subtract the mean and divide by the deviation, for each channel (of values 0..1).
        stores: of the data set's samplers in use, by (name, rotate, device): samplers of one part share their images.

    Raises:
        UserError: `rotate` with images that are not square.
    """

    def __init__(
        self,
        images: ImageSet,
        classes: Sequence[int],
        *,
        device: str,
        seed: int,
        name: str,
        rotate: bool,
        within_group: bool,
        negative: bool = False,
        augment: Augment = NONE,
        mean: tuple[float, ...] | None = None,
        deviation: tuple[float, ...] | None = None,
        stores: MutableMapping[tuple[str, bool, str], Store] | None = None,
    ):
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
        label = torch.repeat_interleave(count)  # class of each image of this part
        rows = images.first[chosen][label] + torch.arange(len(label)) - first[label]
        stores, key = {} if stores is None else stores, (name, rotate, device)
        self._store = stores[key] if key in stores else make_store(images.pixels, rows, rotate, device)
        stores[key] = self._store
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
        """Raise UserError if tasks of this size cannot be sampled."""
        if way < 2:
            raise UserError(f"way={way}: classification needs at least 2 classes")
        if way > len(self.first):
            raise UserError(
                f"way={way}: the {self.name} split has only {len(self.first)} class{'es' * (len(self.first) != 1)}: "
                "lower way=, or give it more classes by data.split="
            )
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
        """Sample tasks `ids` (int64 [T]): x float [T, N*K or N*Q, C, H, W], labels int64 [T, N*K or N*Q]."""
        if way > len(self.first) or shot + query > self._fewest:
            self.check(way, shot, query)
        chosen = self.classes(ids, way)
        each = shot + query
        keys = rng.bits(self._image_stream, ids, way, self._most)
        if self._fewest < self._most:  # classes have different sizes: leave out indices beyond the last image
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
        """Draw the classes of tasks `ids` (int64 [T]): int64 [T, N], distinct, in random order."""
        keys = rng.bits(self._class_stream, ids, len(self.first))
        if self.within_group:
            keys = keys.masked_fill(self._group != self._draw_group(ids, way)[:, None], torch.iinfo(torch.int64).min)
        return keys.topk(way, dim=1).indices

    def viewable(self, x: Tensor) -> Tensor:
        """Convert inputs float [..., C, H, W] to pictures 0..1 that look like the files: black ink on white paper."""
        if self._mean is not None and self._deviation is not None:
            x = (x * self._deviation.to(x.device) + self._mean.to(x.device)).clamp(0, 1)
        return 1 - x if self._negative else x

    def examples(self, ids: Tensor) -> Examples:
        """Draw images `ids` (int64 [B]): x float [B, C, H, W], y int64 [B]. Each rotation of a class is a label."""
        index = (rng.bits(self._image_stream, ids, 1)[:, 0] & (2**62 - 1)) % len(self._label)
        label = self._label[index]
        if not self.rotate:
            return Examples(self._images(index, None, ids), label)
        turn = rng.bits(self._turn_stream, ids, 1)[:, 0] & 3
        return Examples(self._images(index, turn, ids), label * 4 + turn)

    def _draw_group(self, ids: Tensor, way: int) -> Tensor:
        """Draw a group for each task, uniformly among those with at least `way` classes: int64 [T]."""
        keys = rng.bits(self._group_stream, ids, len(self._sizes))
        return keys.masked_fill(self._sizes < way, torch.iinfo(torch.int64).min).argmax(1)

    def _images(self, index: Tensor, turn: Tensor | None, ids: Tensor) -> Tensor:
        """Look up and prepare images: float [*index.shape, C, H, W]; index[t] belongs to task ids[t]."""
        x = self._store(index.flatten(), None if turn is None else turn.flatten())
        if self._augment:
            x = self._augment(x, self._augment_stream, ids)
        # On CUDA, torch multiplies by 1 / 255, which rounds differently; in double precision the results agree
        x = x.to(torch.float64 if x.is_cuda else torch.float32).div_(255).float()
        if self._mean is not None and self._deviation is not None:
            x = x.sub_(self._mean).div_(self._deviation)
        return x.view(*index.shape, *self.shape)


def image_dataset(
    name: str,
    split: str,
    images: ImageSet,
    parts: dict[str, list[str]],
    *,
    rotate_train: bool,
    rotate_test: bool,
    within_group: bool = False,
    invert: bool = False,
    negative: bool = False,
    augment: Augment = NONE,
    mean: tuple[float, ...] | None = None,
    deviation: tuple[float, ...] | None = None,
    notice: str | None = None,
) -> Dataset:
    """Make a Dataset of an ImageSet.

    Args:
        name: of the data set.
        split: name of the split.
        images: the images of all classes.
        parts: class names of each part of the split: `train`, `validation`, `test`.
        rotate_train: rotate each class of each training task by a random multiple of 90 degrees.
        rotate_test: the same for validation and test tasks.
        within_group: draw all classes of a task from one group.
        invert: the files show dark ink on light paper, and the pixels are their negative.
        negative: show the negative of the pixels in pictures, for images without files; implied by `invert`.
        augment: random crops and flips of training images.
        mean, deviation: subtract the mean and divide by the deviation, for each channel (of values 0..1).
        notice: what the user must not miss, shown before and after the run.
    """
    number = {class_name: i for i, class_name in enumerate(images.names)}
    stores: WeakValueDictionary[tuple[str, bool, str], Store] = WeakValueDictionary()

    def source(part: Split, seed: int, device: str) -> ImageTasks:
        check(seed, int, "seed")
        if unknown := [piece for piece in part.split("+") if piece not in parts]:
            raise UserError(f"{unknown[0]}: no such part; there are {', '.join(parts)}")
        classes = [number[name] for piece in part.split("+") for name in parts[piece]]
        training = part.startswith("train")
        return ImageTasks(
            images,
            classes,
            device=resolve_device(device),
            seed=seed,
            name=part,
            rotate=rotate_train if training else rotate_test,
            within_group=within_group,
            negative=negative or invert,
            augment=augment if training else NONE,
            mean=mean,
            deviation=deviation,
            stores=stores,
        )

    shape = tuple(images.pixels.shape[1:])
    return Dataset(
        name,
        split,
        False,
        shape,
        None,
        source,
        invert=invert,
        notice=notice,
        classes=parts,
        fingerprint=fingerprint(images, parts),
        mean=mean,
        deviation=deviation,
    )
