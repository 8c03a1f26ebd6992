"""Glyphs: generated data similar to Omniglot, for machines without the real data.

Each class is a random program of strokes. It is drawn by 20 drawers, who vary the control points, slant, scale,
rotation and pen. As with Omniglot, a nearest-neighbour classifier on pixels fails.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from metalearn.data import rng
from metalearn.data.base import Dataset
from metalearn.data.image_set import from_array
from metalearn.data.task_sampler import image_dataset
from metalearn.runtime import memory

DRAWERS, SIZE = 20, 28
_STROKES, _DOTS = 3, 48  # maximum strokes per glyph; dots per stroke, about a pixel apart


def load(
    *, classes: list[int], split_seed: int, rotate_train: bool, rotate_test: bool, notice: str | None = None
) -> Dataset:
    """Generate characters: 28x28 pixels, ink 1, paper 0; a function of `split_seed`.

    Rounding differs between processors: there, a few grey values in a million differ by 1 of 255.

    Args:
        classes: numbers of classes for training, validation and test.
        split_seed: seed of the glyphs.
        rotate_train, rotate_test: rotate each class of each task by a random multiple of 90 degrees.
        notice: message shown before and after the run.

    Raises:
        UserError: the images do not fit into memory.
        ValueError: `classes` is not three numbers of at least 1.
    """
    if len(classes) != 3 or min(classes) < 1:
        raise ValueError(f"classes={list(classes)}: must be three numbers (training, validation, test) of at least 1")
    memory.require(4 * sum(classes) * DRAWERS * SIZE * SIZE, f"data.classes={list(classes)}")  # with four rotations
    names = [f"glyph{split_seed}_{i:04d}" for i in range(sum(classes))]
    train, validation, _ = classes
    parts = {
        "train": names[:train],
        "validation": names[train : train + validation],
        "test": names[train + validation :],
    }
    images = from_array(draw(len(names), split_seed).numpy(), names, [""] * len(names))
    return image_dataset(
        "glyphs",
        f"seed {split_seed}",
        images,
        parts,
        rotate_train=rotate_train,
        rotate_test=rotate_test,
        negative=True,
        notice=notice,
    )


def draw(classes: int, seed: int) -> Tensor:
    """Draw the first `classes` glyphs: uint8 [classes, 20, 28, 28], ink 255, paper 0."""
    pieces = [_draw(torch.arange(i, min(i + 25, classes)), seed) for i in range(0, classes, 25)]
    return torch.cat(pieces)


def _draw(ids: Tensor, seed: int) -> Tensor:
    """Draw the glyphs with these ids (int64 [n]): uint8 [n, 20, 28, 28]."""
    n = len(ids)

    def uniform(name: str, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * rng.uniform(rng.stream(seed, "glyph", name), ids, *shape)

    # Program: cubic Bezier strokes; a stroke often starts at the end of the one before
    strokes = uniform("strokes", 1.4, _STROKES + 0.999, 1).floor()  # [n, 1]
    control = uniform("control", -1, 1, _STROKES, 4, 2)  # control points
    joined = uniform("joined", 0, 1, _STROKES, 1) < 0.6
    for s in range(1, _STROKES):
        control[:, s, 0] = torch.where(joined[:, s], control[:, s - 1, 3], control[:, s, 0])
    # Drawers: each moves the control points a little, and slants, scales, rotates and shifts the glyph
    hand = control[:, None] + 0.1 * _normal(uniform, "jitter", DRAWERS, _STROKES, 4, 2)
    t = torch.linspace(0, 1, _DOTS)
    bezier = torch.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], -1)  # [dots, 4]
    dots = torch.einsum("pk,ndskc->ndspc", bezier, hand)  # [n, drawers, strokes, dots, 2]
    used = torch.arange(_STROKES)[:, None] < strokes[:, None, None, :]  # [n, 1, strokes, 1]
    dots = torch.where(used[..., None], dots, dots[:, :, :1, :1])  # hide an unused stroke under the first dot
    dots = dots.flatten(2, 3)
    low, high = dots.amin(2, keepdim=True), dots.amax(2, keepdim=True)
    dots = (dots - (low + high) / 2) / (high - low).amax(-1, keepdim=True).clamp_min(0.1)  # scale to [-0.5, 0.5]
    angle, slant = 0.17 * _normal(uniform, "turn", DRAWERS), 0.2 * _normal(uniform, "slant", DRAWERS)
    cos, sin = angle.cos(), angle.sin()
    frame = torch.stack([torch.stack([cos, slant - sin], -1), torch.stack([sin, cos], -1)], -2)  # [n, drawers, 2, 2]
    frame = frame * uniform("scale", 0.6, 0.92, DRAWERS, 1, 1) * uniform("aspect", 0.85, 1.15, DRAWERS, 1, 2)
    dots = torch.einsum("ndij,ndpj->ndpi", frame, dots) + uniform("shift", -0.07, 0.07, DRAWERS, 1, 2)
    # Ink: each dot colours the pixels within the radius of the pen, with a soft edge
    place = (dots + 0.5) * SIZE - 0.5  # in pixels
    pen = uniform("pen", 0.6, 0.95, DRAWERS, 1)
    corner = place.floor()
    ink = torch.zeros(n * DRAWERS * SIZE * SIZE)
    page = torch.arange(n * DRAWERS).view(n, DRAWERS, 1) * SIZE * SIZE
    for dy in range(-1, 3):
        for dx in range(-1, 3):
            pixel = corner + torch.tensor([dx, dy])
            shade = (pen + 0.5 - (pixel - place).norm(dim=-1)).clamp(0, 1)
            inside = ((pixel >= 0) & (pixel < SIZE)).all(-1)
            index = (page + pixel[..., 1] * SIZE + pixel[..., 0]).long()
            ink.scatter_reduce_(0, index[inside], shade[inside], "amax")
    return (ink * 255).round().to(torch.uint8).view(n, DRAWERS, SIZE, SIZE)


def _normal(uniform: Callable[..., Tensor], name: str, *shape: int) -> Tensor:
    """Draw roughly normal numbers: the centred sum of four uniform ones, variance 1, absolute value below 3.5."""
    return uniform(name, -1, 1, *shape, 4).sum(-1) * math.sqrt(3 / 4)
