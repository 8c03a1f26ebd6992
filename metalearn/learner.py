"""Use after training: `learner = metalearn.load(PATH)`, then adapt it to a few labelled images."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metalearn import checkpoint
from metalearn.algorithms.base import Adapted, Algorithm, Meta, nth
from metalearn.device import resolve
from metalearn.errors import UserError
from metalearn.models.norm import NormMode
from metalearn.spec import restored
from metalearn.trust import limit


def load(path: str | Path, device: str = "cpu", trust: bool = False) -> "Learner":
    """Load the learner in a checkpoint. Neither configuration nor data are needed.

    Args:
        path: a checkpoint, or a run's folder (its best learner is taken).
        device: where it computes.
        trust: allow the checkpoint to name classes outside metalearn, as it does for an algorithm or a model of your
            own. Importing them runs their code: do so only if you trust where the file comes from.

    Raises:
        UserError: no such file, not a checkpoint, or one that needs `trust=True`.
    """
    path, device = Path(path), resolve(device)
    file = path / "checkpoints" / "best.pt" if path.is_dir() else path
    content = checkpoint.read(file, device)
    with limit(trusted=trust):
        return Learner(restored(content, file), content["meta"], content["spec"], device)


class Learner:
    """A meta-trained learner.

    Attributes:
        spec: what it was trained for: `way`, `shot`, `shape`, `algo`, `norm`, ...
    """

    def __init__(self, algorithm: Algorithm, meta: Meta, spec: dict[str, Any], device: str):
        self.algorithm, self.meta, self.spec, self.device = algorithm, meta, spec, device

    def adapt(self, images: Any, labels: Sequence[Hashable] | Any, steps: int | None = None) -> "Classifier":
        """Learn to tell classes apart from a few examples of each.

        Args:
            images: B images: arrays or tensors [B, C, H, W] or [B, H, W] (real 0..1, or whole numbers 0..255, ink high
                as in training), or a list of such images or of PIL images. PIL images go through the preparation of
                the training data: resized, made grey, and turned round where the data were dark ink on light paper.
            labels: B labels of any kind: strings, numbers, a tensor. No more classes than the learner was trained for.
            steps: inner steps; by default those used at test.

        Returns:
            A classifier that knows these labels. (For a regression learner: adapt(x, y) with y [B] or [B, D] real.)
        """
        x = self._inputs(images)[None]
        values = labels.tolist() if isinstance(labels, (Tensor, np.ndarray)) else list(labels)
        values = [value.item() if isinstance(value, (Tensor, np.generic)) else value for value in values]
        if len(values) != x.shape[1]:
            raise UserError(f"{x.shape[1]} images but {len(values)} labels")
        steps = self.algorithm.inner_steps_test if steps is None else steps
        if steps < 0:
            raise UserError(f"steps={steps}: must be at least 0")
        if self.spec["regression"]:
            y = torch.tensor(values, dtype=torch.float32, device=self.device).view(1, len(values), -1)
            return Classifier(self, nth(self.algorithm.adapt(self.meta, x, y), steps), [])
        if not all(isinstance(value, Hashable) for value in values):
            raise UserError("labels must be one value an image, not a list")
        classes: list[Hashable] = list(dict.fromkeys(values))
        if len(classes) > self.spec["way"]:
            raise UserError(f"{len(classes)} classes, but this learner was trained for {self.spec['way']} ways")
        y = torch.tensor([[classes.index(value) for value in values]], device=self.device)
        return Classifier(self, nth(self.algorithm.adapt(self.meta, x, y), steps), classes)

    def _inputs(self, images: Any) -> Tensor:
        """Anything that `adapt` takes as float [B, *shape]."""
        shape = tuple(self.spec["shape"])
        if isinstance(images, (Tensor, np.ndarray)):
            x = _floats(images)
        else:
            items = [images] if _is_picture(images) else list(images)
            if not items:
                raise UserError("no images given")
            each = [self._picture(i) if _is_picture(i) else _floats(i) for i in items]
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
            raise UserError(
                f"{len(x)} images of shape {tuple(x.shape[1:])}; this learner takes {shape} (channels first)"
            )
        return x.to(self.device)

    def _picture(self, picture: Any) -> Tensor:
        from PIL import Image

        from metalearn.data.pictures import upright

        channels, height, width = self.spec["shape"]
        picture = upright(picture).convert("L" if channels == 1 else "RGB")
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        x = torch.from_numpy(np.array(picture)).view(height, width, channels).permute(2, 0, 1).float() / 255
        return 1 - x if self.spec["dark_ink"] else x


class Classifier:
    """A learner adapted to one support set.

    Batch norm uses the statistics of the support set (or the running ones of a `per_step` learner), so an image is
    classified alone: the answer does not depend on what else is asked in the same call.
    """

    def __init__(self, learner: Learner, adapted: Adapted, classes: list[Hashable]):
        self._learner, self._adapted = learner, adapted
        self.classes = classes  # in the order of the columns of predict_proba

    def predict(self, images: Any) -> list[Any]:
        """The label of each image (of one image: a list of one). For regression the values, [B, D] as nested lists."""
        if self._learner.spec["regression"]:
            values: list[Any] = self._outputs(images).tolist()
            return values
        return [self.classes[i] for i in self._outputs(images).argmax(1).tolist()]

    def predict_proba(self, images: Any) -> np.ndarray:
        """Class probabilities [B, classes], columns in the order of `classes`."""
        if self._learner.spec["regression"]:
            raise UserError("a regression learner has no class probabilities: use predict")
        return self._outputs(images).softmax(1).cpu().numpy()

    def _outputs(self, images: Any) -> Tensor:
        x = self._learner._inputs(images)[None]
        norm: NormMode = "per_step" if self._learner.algorithm.norm == "per_step" else "support"
        with torch.no_grad():
            outputs = self._learner.algorithm.predict(self._adapted, x, norm)[0]
        return outputs[:, : len(self.classes)] if self.classes else outputs


def _is_picture(item: Any) -> bool:
    return hasattr(item, "convert") and hasattr(item, "size") and not isinstance(item, (Tensor, np.ndarray))


def _floats(image: Any) -> Tensor:
    x = torch.as_tensor(np.asarray(image) if not isinstance(image, Tensor) else image)
    whole = not (x.is_floating_point() or x.is_complex() or x.dtype == torch.bool)
    return x.float() / 255 if whole else x.float()
