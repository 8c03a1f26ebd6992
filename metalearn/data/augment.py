"""Random crops and flips of training images, as a pure function of (seed, task id, position in the task)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metalearn.config.checks import at_least
from metalearn.data import rng


@dataclass(frozen=True)
class Augment:
    """Random crop and horizontal flip.

    Args:
        crop: padding with zeros on each side, in pixels; a random window of the original size is cut out.
        flip: mirror left and right with probability 1/2.

    Raises:
        ValueError: `crop` is negative.
    """

    crop: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        at_least(0, crop=self.crop)

    def __bool__(self) -> bool:
        return self.crop > 0 or self.flip

    def __call__(self, x: Tensor, stream: int, ids: Tensor) -> Tensor:
        """Augment images of tasks.

        Args:
            x: [T*B, C, H, W], B images per task, ordered by task.
            stream: stream of random numbers, see metalearn.data.rng.stream.
            ids: int64 [T], task ids.

        Returns:
            Images of the shape of x.
        """
        draws = rng.bits(stream, ids, len(x) // len(ids), 3).view(-1, 3)
        if self.flip:
            x = torch.where((draws[:, 2] & 1 == 1)[:, None, None, None], x.flip(-1), x)
        if self.crop:
            height, width = x.shape[-2:]
            shift = (draws[:, :2] & (2**62 - 1)) % (2 * self.crop + 1)
            rows = shift[:, :1] + torch.arange(height, device=x.device)
            columns = shift[:, 1:] + torch.arange(width, device=x.device)
            padded = torch.nn.functional.pad(x, [self.crop] * 4)
            image = torch.arange(len(x), device=x.device)[:, None, None]
            x = padded.movedim(1, -1)[image, rows[:, :, None], columns[:, None]].movedim(-1, 1)
        return x


NONE = Augment()
