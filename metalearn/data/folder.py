"""Image files in folders: one for each class, with a split of your own or a published one."""

from collections.abc import Mapping
from pathlib import Path

import torch

from metalearn.config.checks import at_least
from metalearn.data import splits
from metalearn.data.augment import Augment
from metalearn.data.base import Dataset
from metalearn.data.cache import Packed
from metalearn.data.decode import Colour, decoded
from metalearn.data.listing import listed
from metalearn.data.moments import moments
from metalearn.data.task_sampler import ImageSet, image_dataset
from metalearn.errors import NotFound, UserError
from metalearn.runtime.console import warn


def load(
    *,
    root: str,
    size: int,
    colour: Colour,
    split: str | list[float],
    split_seed: int,
    min_images: int,
    invert: bool,
    normalize: bool,
    crop: int,
    flip: bool,
    rotate_train: bool,
    rotate_test: bool,
    name: str | None = None,
    classes: list[int] | None = None,
    how: str | None = None,
) -> Dataset:
    """Images of `root`/CLASS/... or `root`/{train,val,test}/CLASS/..., resized to size x size; decoded once.

    Args:
        root: a folder; images lie at any depth below the folder of their class.
        size: edge of the resized images, in pixels.
        colour: `grey` (one channel), `rgb` (three), or `auto`: rgb where any image has colour.
        split: shares of the classes for training, validation and test, where the root has no published split
            (train/ val/ test/ folders, or train.csv val.csv test.csv); a CSV file with `image,class,split`; `published`
            where the root must have the split; `alternating`: of the sorted classes 0, 2, 4, ... are for training,
            1, 5, 9, ... for validation, 3, 7, 11, ... for test (Chen et al., ICLR 2019, for CUB).
        split_seed: which permutation of the sorted class names is split by shares.
        min_images: classes with fewer images are named and skipped.
        invert: turn grey values round, for dark strokes on light paper.
        normalize: subtract the mean of the training images and divide by their standard deviation, by channel.
        crop, flip: of training images, see metalearn.data.augment.
        rotate_train, rotate_test: turn each class of each task by its own multiple of 90 degrees.
        name: of the data set; by default that of the folder.
        classes: how many the published split has for training, validation and test; others are warned of.
        how: how to get the data, for the message where the folder is missing.

    Raises:
        UserError: no such folder, too few classes with enough images, or a split that does not fit.
    """
    at_least(1, size=size)
    at_least(2, min_images=min_images)
    if size > 2048:
        raise ValueError(f"size={size}: must be at most 2048, the edge of an image in pixels")
    augment = Augment(crop, flip)
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise NotFound(f"data.root={root}: no such folder; {how or 'it must hold one folder of images for each class'}")
    try:
        listing = listed(folder, split if isinstance(split, str) else None)
        packed = decoded(listing, size, colour, invert)
    except OSError as error:
        raise UserError(f"data.root={root}: {error.filename or ''}: {error.strerror or error}") from error
    if listing.left_out:
        warn(f"{len(listing.left_out)} links left out, to folders or out of data.root: {_some(listing.left_out)}")
    if damaged := packed.facts["damaged"]:
        warn(f"{len(damaged)} unreadable images left out: {_some(damaged)}")
    counts = dict(zip(packed.facts["classes"], packed.facts["counts"], strict=True))
    small = [c for c, count in counts.items() if count < min_images]
    if small:
        warn(f"{len(small)} classes with fewer than {min_images} images (data.min_images) left out: {_some(small)}")
    names = sorted(set(counts) - set(small))
    if len(names) < 3:
        raise UserError(
            f"data.root={root}: {len(names)} classes have {min_images} images or more; needs 3 such classes"
        )
    if listing.parts is not None:
        parts = {part: [c for c in found if c not in set(small)] for part, found in listing.parts.items()}
        said = "published"
    elif split == "alternating":
        parts, said = splits.alternating(names), "alternating"
    elif isinstance(split, str):
        raise UserError(f"data.split={split}: names no split")
    else:
        parts = splits.by_fraction(names, split, split_seed)
        said = f"{':'.join(f'{share:g}' for share in split)} seed {split_seed}"
    _check(parts, root, classes)
    mean, deviation = moments(packed, parts["train"]) if normalize else (None, None)
    return image_dataset(
        name or f"folder:{folder.resolve().name}",
        said,
        image_set(packed, names),
        parts,
        rotate={"train": rotate_train, "validation": rotate_test, "test": rotate_test},
        invert=invert,
        augment=augment,
        mean=mean,
        deviation=deviation,
    )


def image_set(packed: Packed, names: list[str]) -> ImageSet:
    """The images of these classes."""
    counts = torch.tensor(packed.facts["counts"], dtype=torch.int64)
    first = counts.cumsum(0) - counts
    number = {name: i for i, name in enumerate(packed.facts["classes"])}
    chosen = torch.tensor([number[name] for name in names])
    return ImageSet(packed.pixels, first[chosen], counts[chosen], tuple(names), ("",) * len(names), packed.digest)


def _check(parts: Mapping[str, list[str]], root: str, expected: list[int] | None) -> None:
    for part, found in parts.items():
        if not found:
            raise UserError(f"data.root={root}: the {part} split has no class with enough images")
    counts = [len(found) for found in parts.values()]
    if expected is not None and counts != expected:
        warn(f"data.root={root}: {counts} classes for training, validation and test, where the published split has "
             f"{expected}: results do not compare with published ones")  # fmt: skip


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
