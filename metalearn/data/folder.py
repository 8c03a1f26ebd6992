"""A user's own images: one folder a class."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from metalearn.console import warn
from metalearn.data import Dataset, splits
from metalearn.data.images import ImageSet, image_dataset
from metalearn.data.pictures import upright
from metalearn.errors import NotFound, UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}


def load(
    *,
    root: str,
    size: int,
    colour: Literal["auto", "grey", "rgb"],
    split: list[float],
    split_seed: int,
    fewest: int,
    dark_ink: bool,
    rotate_train: bool,
    rotate_test: bool,
) -> Dataset:
    """Images of `root`/CLASS/..., resized to size x size and split by class.

    Args:
        root: a folder of folders; classes are the folders at its first level, images at any depth below.
        size: edge of the resized images, in pixels.
        colour: `grey` (one channel), `rgb` (three), or `auto`: rgb where any image has colour.
        split: shares of the classes for training, validation and test.
        split_seed: which permutation of the sorted class names is split.
        fewest: classes with fewer images are named and skipped.
        dark_ink: turn grey values round, for dark strokes on light paper.
        rotate_train, rotate_test: turn each class of each task by its own multiple of 90 degrees.

    Raises:
        UserError: no such folder, or too few classes with enough images.
    """
    for name, value, least in (("size", size, 1), ("fewest", fewest, 2)):
        if value < least:
            raise ValueError(f"{name}={value}: must be at least {least}")
    if size > 2048:
        raise ValueError(f"size={size}: must be at most 2048, the edge of an image in pixels")
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise NotFound(f"data.root={root}: no such folder; it must hold one folder of images for each class")
    images, unreadable = _read(folder, size, colour)
    if unreadable:
        warn(f"{len(unreadable)} unreadable images left out: {_some(unreadable)}")
    small = [name for name, stack in images.items() if len(stack) < fewest]
    if small:
        warn(f"{len(small)} classes with fewer than {fewest} images (data.fewest) left out: {_some(small)}")
    names = sorted(set(images) - set(small))
    if len(names) < 3:
        raise UserError(f"data.root={root}: {len(names)} classes with at least {fewest} images; 3 or more are needed")
    counts = torch.tensor([len(images[name]) for name in names])
    pixels = torch.from_numpy(np.concatenate([np.stack(images[name]) for name in names]))  # [M, H, W, C]
    if dark_ink:
        pixels = 255 - pixels
    parts = splits.by_fraction(names, split, split_seed)
    image_set = ImageSet(pixels.permute(0, 3, 1, 2).contiguous(), counts.cumsum(0) - counts, counts, tuple(names),
                         ("",) * len(names))  # fmt: skip
    return image_dataset(
        f"folder:{folder.resolve().name}",
        f"{':'.join(f'{share:g}' for share in split)} seed {split_seed}",
        image_set,
        parts,
        rotate={"train": rotate_train, "validation": rotate_test, "test": rotate_test},
        dark_ink=dark_ink,
    )


def _read(folder: Path, size: int, colour: str) -> tuple[dict[str, list[np.ndarray]], list[str]]:
    """Images uint8 [size, size, C] by class, and the names of files that are no readable images."""
    from PIL import Image
    from rich.progress import track

    files = {c.name: sorted(f for f in c.rglob("*") if f.suffix.lower() in SUFFIXES)
             for c in sorted(folder.iterdir()) if c.is_dir()}  # fmt: skip
    images: dict[str, list[np.ndarray]] = {}
    unreadable, coloured = [], colour == "rgb"
    pairs = [(name, file) for name, found in files.items() for file in found]
    images = {name: [] for name in files}
    for name, file in track(pairs, description=f"reading {folder.name}", transient=True):
        try:
            with Image.open(file) as image:
                small = upright(image).convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
        except (OSError, ValueError, Image.DecompressionBombError):
            unreadable.append(f"{name}/{file.name}")
            continue
        pixels = np.asarray(small)
        coloured = coloured or (colour == "auto" and bool((pixels != pixels[..., :1]).any()))
        images[name].append(pixels)
    if not coloured:
        images = {name: [_grey(pixels) for pixels in stack] for name, stack in images.items()}
    return images, unreadable


def _grey(pixels: np.ndarray) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
