"""Conversion of arrays, tensors, PIL images and paths to the inputs of a learner."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metalearn.runtime.errors import UserError

TOLERANCE = 1e-3  # how far values may lie outside 0..1, as after resizing


def as_inputs(images: Any, spec: Mapping[str, Any], device: str) -> Tensor:
    """Convert what a user gives to the inputs of a learner, prepared as its training data.

    Args:
        images: an array or tensor [B, *shape]; a list of arrays [*shape], PIL images or paths; or a single one. Grey
            images may lack their channel.
        spec: of the learner: shape and preparation of its training images.

    Returns:
        float [B, *shape].

    Raises:
        UserError: another type or shape, values that are not finite, or values outside the range of images.
    """
    shape = tuple(spec["shape"])
    if isinstance(images, (Tensor, np.ndarray)):
        x = _floats(images, spec)
    else:
        items = [images] if _is_picture(images) else _listed(images)
        if not items:
            raise UserError("no images given")
        each = [_picture(item, spec) if _is_picture(item) else _floats(item, spec) for item in items]
        each = [i.reshape(shape) if i.numel() == np.prod(shape) and i.ndim < len(shape) else i for i in each]
        if len({i.shape for i in each}) > 1:
            raise UserError(f"images of different shapes: {sorted({tuple(i.shape) for i in each})}")
        x = torch.stack(each)
    grey = shape[0] == 1
    if grey and x.ndim == len(shape) - 1:  # one image without its channel
        x = x[None]
    if x.ndim == len(shape):  # one image, or grey images without their channel
        x = x[:, None] if grey and x.shape != shape else x[None]
    if x.shape[1:] != shape or not len(x):
        raise UserError(f"{len(x)} images of shape {tuple(x.shape[1:])}; this learner takes {shape} (channels first)")
    return _normalized(x.to(device), spec)


def _listed(images: Any) -> list[Any]:
    try:
        return list(images)
    except TypeError as error:
        raise UserError(f"{type(images).__name__}: not images; give arrays, tensors, PIL images or paths") from error


def _is_picture(item: Any) -> bool:
    """True for a path or a PIL image."""
    if isinstance(item, (str, Path)):
        return True
    return hasattr(item, "convert") and hasattr(item, "size") and not isinstance(item, (Tensor, np.ndarray))


def _picture(picture: Any, spec: Mapping[str, Any]) -> Tensor:
    """Read a picture and prepare it as the training data: float [C, H, W]."""
    from PIL import Image

    from metalearn.data.image_io import upright

    if not _takes_images(spec):
        raise UserError("this learner takes numbers, not pictures")
    channels, height, width = spec["shape"]
    try:
        opened = Image.open(picture) if isinstance(picture, (str, Path)) else picture
        small = upright(opened).convert("L" if channels == 1 else "RGB")
        small = small.resize((width, height), Image.Resampling.LANCZOS)
    except FileNotFoundError as error:
        raise UserError(f"{picture}: no such image") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{picture}: not a readable image ({error})") from error
    x = torch.from_numpy(np.array(small)).view(height, width, channels).permute(2, 0, 1).float() / 255
    return 1 - x if spec["invert"] else x


def _floats(values: Any, spec: Mapping[str, Any]) -> Tensor:
    """Convert numbers to float. Those of images are checked, and scaled to 0..1."""
    try:
        x = values.detach() if isinstance(values, Tensor) else torch.from_numpy(np.array(values))  # a copy
    except (TypeError, ValueError) as error:
        raise UserError(f"{type(values).__name__}: not an image; give arrays, tensors, PIL images or paths") from error
    if x.is_complex():
        raise UserError("complex numbers: give real ones")
    whole = not (x.is_floating_point() or x.dtype == torch.bool)
    x = x.float()
    if not x.isfinite().all():
        kind = "images" if _takes_images(spec) else "inputs"
        raise UserError(f"{kind} with values that are not finite (NaN or infinity)")
    if not _takes_images(spec):
        return x
    if x.numel():
        least, most = x.min().item(), x.max().item()
        if whole and not 0 <= least <= most <= 255:
            raise UserError(f"images with whole numbers of {least:g} to {most:g}: must be 0 to 255")
        if not whole and not -TOLERANCE <= least <= most <= 1 + TOLERANCE:
            how = ": divide by 255" if least >= 0 and 2 < most <= 255 else ""
            raise UserError(f"images with values of {least:g} to {most:g}: real ones must be 0 to 1{how}")
    return x / 255 if whole else x


def _takes_images(spec: Mapping[str, Any]) -> bool:
    """True if the inputs of the learner are images [C, H, W], not vectors [D]."""
    return len(spec["shape"]) == 3


def _normalized(x: Tensor, spec: Mapping[str, Any]) -> Tensor:
    """Normalize [B, C, H, W] by the mean and deviation of the training images, if those were normalized."""
    if spec.get("mean") is None:
        return x
    mean, deviation = (torch.tensor(spec[name], device=x.device).view(-1, 1, 1) for name in ("mean", "deviation"))
    return (x - mean) / deviation
