"""A learner adapted to one support set."""

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.parameters import Adapted
from metalearn.models.norm import NormMode
from metalearn.runtime.errors import UserError


class Classifier:
    """A learner adapted to one support set, for predictions.

    Batch norm uses the statistics of the support set; a `per_step` learner uses its running ones. Each image is
    therefore classified independently of the other images in the same call.

    Attributes:
        classes: the labels, in the order of the columns of predict_proba; empty in regression.
    """

    def __init__(
        self, algorithm: Algorithm, adapted: Adapted, classes: list[Hashable], inputs: Callable[[Any], Tensor]
    ):
        self._algorithm, self._adapted, self._inputs = algorithm, adapted, inputs
        self.classes = classes

    def __repr__(self) -> str:
        shots, step = self._adapted.support_x.shape[1], self._adapted.step
        after = f"{counted(shots, 'example')} and {counted(step, 'inner step')}"
        if not self.classes:
            return f"<Classifier: {self._algorithm.objective.task} after {after}>"
        shown = ", ".join(map(repr, self.classes[:5])) + (", ..." if len(self.classes) > 5 else "")
        return f"<Classifier: {len(self.classes)} classes ({shown}) after {after}>"

    def predict(self, images: Any) -> list[Any]:
        """Predict the label of each image, or in regression the values [B, D] as nested lists.

        One image gives a list of one.

        Raises:
            UserError: images that the learner cannot take, or outputs that are not finite.
        """
        return self._algorithm.objective.decode(self._outputs(images), self.classes)

    def predict_proba(self, images: Any) -> np.ndarray:
        """Class probabilities [B, classes], columns in the order of `classes`.

        Raises:
            UserError: as in `predict`, or a regression learner.
        """
        self._algorithm.objective.require_classes("predict_proba", "use predict")
        return self._outputs(images).softmax(1).cpu().numpy()

    def features(self, images: Any) -> np.ndarray:
        """The adapted body's features of each image: float32 [B, D].

        Raises:
            UserError: images that the learner cannot take.
        """
        algorithm, adapted, x = self._algorithm, self._adapted, self._inputs(images)[None]
        with torch.inference_mode(False), torch.no_grad():
            found, _ = algorithm.passes.over_query(algorithm.net.features, adapted, x, False, self._norm)
        return found[0].cpu().numpy()

    @property
    def _norm(self) -> NormMode:
        return "per_step" if self._algorithm.norm == "per_step" else "support"

    def _outputs(self, images: Any) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            outputs = self._algorithm.predict(self._adapted, self._inputs(images)[None].clone(), self._norm)[0]
        outputs = outputs[:, : len(self.classes) or None]  # regression uses all
        if not outputs.isfinite().all():
            raise UserError("the adapted learner's outputs are not finite: its inner loop diverged")
        return outputs


def counted(number: int, noun: str) -> str:
    """Return a number and a noun, in the plural unless the number is 1."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
