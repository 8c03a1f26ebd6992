"""Image files in one folder per class, with a random or a published split."""

from collections.abc import Mapping
from pathlib import Path

from metalearn.config.checks import at_least
from metalearn.data import splits
from metalearn.data.augment import Augment
from metalearn.data.base import Dataset
from metalearn.data.decode import Colour, decode_images
from metalearn.data.image_set import from_packed
from metalearn.data.listing import SUFFIXES, Listing, list_images
from metalearn.data.moments import moments
from metalearn.data.task_sampler import image_dataset
from metalearn.runtime.console import warn
from metalearn.runtime.errors import NotFound, UserError


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
    """Load images of `root`/CLASS/... or `root`/{train,val,test}/CLASS/..., resized to size x size and decoded once.

    Args:
        root: folder of the data. Images may be at any depth below the folder of their class.
        size: edge of the resized images in pixels, 1 to 2048.
        colour: `grey` (1 channel), `rgb` (3 channels), or `auto`: rgb if any image has colour.
        split: one of
            shares of the classes for training, validation and test, ignored if the root has a published split
            (train/ val/ test/ folders, or train.csv val.csv test.csv);
            a CSV file with the columns `image,class,split`;
            `published`: the root must have a published split;
            `alternating`: of the sorted classes, 0, 2, 4, ... are for training, 1, 5, 9, ... for validation, and
            3, 7, 11, ... for test (Chen et al., ICLR 2019, for CUB).
        split_seed: seed of the permutation of the classes that is split by shares.
        min_images: skip classes with fewer images, with a warning.
        invert: store negatives, for dark strokes on light paper.
        normalize: subtract the mean of the training images and divide by their standard deviation, per channel.
        crop, flip: augmentation of training images, see metalearn.data.augment.Augment.
        rotate_train, rotate_test: rotate each class of each task by a random multiple of 90 degrees.
        name: of the data set; by default the name of the folder.
        classes: numbers of classes of the published split (training, validation, test); other numbers give a warning.
        how: how to get the data, for the error message if the folder is missing.

    Raises:
        NotFound: no such folder.
        UserError: too few classes with enough images, or a split that does not fit the data.
        ValueError: a setting is out of range.
    """
    at_least(1, size=size)
    at_least(2, min_images=min_images)
    if size > 2048:
        raise ValueError(f"size={size}: must be at most 2048, the edge of an image in pixels")
    if not isinstance(split, str):
        splits.check_fractions(split)
    augment = Augment(crop, flip)
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise NotFound(f"data.root={root}: no such folder; {how or 'it must contain one folder of images per class'}")
    try:
        listing = list_images(folder, split if isinstance(split, str) else None)
        if len(listing.files) < 3:
            raise UserError(f"data.root={root}: {_too_few(listing)}")
        packed = decode_images(listing, size, colour, invert)
    except OSError as error:
        raise UserError(f"data.root={root}: {error.filename or ''}: {error.strerror or error}") from error
    if listing.skipped:
        warn(f"{len(listing.skipped)} links to folders or out of data.root skipped: {_some(listing.skipped)}")
    if damaged := packed.facts["damaged"]:
        warn(f"{len(damaged)} unreadable images skipped: {_some(damaged)}")
    counts = dict(zip(packed.facts["classes"], packed.facts["counts"], strict=True))
    small = [c for c, count in counts.items() if count < min_images]
    if small:
        warn(f"{len(small)} classes with fewer than {min_images} images (data.min_images) skipped: {_some(small)}")
    names = sorted(set(counts) - set(small))
    if len(names) < 3:
        raise UserError(f"data.root={root}: {len(names)} classes with at least {min_images} images; needs at least 3")
    if listing.parts is not None:
        parts = {part: [c for c in found if c not in set(small)] for part, found in listing.parts.items()}
        split_name = listing.split
    elif split == "alternating":
        parts, split_name = splits.alternating(names), "alternating"
    elif isinstance(split, str):
        raise UserError(f"data.split={split}: does not name a split")
    else:
        parts = splits.by_fraction(names, split, split_seed)
        split_name = f"{':'.join(f'{share:g}' for share in split)} seed {split_seed}"
    _check(parts, root, classes)
    mean, deviation = moments(packed, parts["train"]) if normalize else (None, None)
    return image_dataset(
        name or f"folder:{folder.resolve().name}",
        split_name,
        from_packed(packed, names),
        parts,
        rotate_train=rotate_train,
        rotate_test=rotate_test,
        invert=invert,
        augment=augment,
        mean=mean,
        deviation=deviation,
    )


def _check(parts: Mapping[str, list[str]], root: str, expected: list[int] | None) -> None:
    for part, found in parts.items():
        if not found:
            raise UserError(f"data.root={root}: the {part} split has no class with enough images")
    counts = [len(found) for found in parts.values()]
    if expected is not None and counts != expected:
        warn(
            f"data.root={root}: {counts} classes for training, validation and test, but the published split has "
            f"{expected}: do not compare results with published ones"
        )


def _too_few(listing: Listing) -> str:
    """Say what a root with fewer than 3 folders of classes has, and what it needs."""
    need = "needs at least 3 folders of images, one for each class"
    loose = sum(path.suffix.lower() in SUFFIXES for path in listing.root.iterdir())
    images = f"; {loose} images lie outside of such folders" if loose else ""
    return f"{need}, and has {len(listing.files)}{images}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
