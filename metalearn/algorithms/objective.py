"""Objectives of tasks, with their loss and score: classification and regression."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from metalearn.errors import UserError
from metalearn.runtime.console import decimal, percent


class Objective:
    """A loss for the inner and the outer loop, and a score to report.

    Attributes:
        name: the name of the score.
        task: the kind of task.
        bounded: True if scores lie in 0..1.
    """

    name: ClassVar[str]
    task: ClassVar[str]
    bounded: ClassVar[bool]

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean loss of each task [T]."""
        raise NotImplementedError

    def score(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The reported score of each task [T]."""
        raise NotImplementedError

    def better(self, a: float, b: float) -> bool:
        """True if score a is better than score b."""
        raise NotImplementedError

    def as_loss(self, score: float) -> float:
        """Turn a score into a loss: the smaller, the better."""
        raise NotImplementedError

    def spell(self, score: float, ci95: float) -> str:
        """A score with the half-width of its interval, as text."""
        raise NotImplementedError

    def task_words(self, way: int, shot: int) -> str:
        """A task in words, such as `5-way 1-shot`."""
        raise NotImplementedError

    def fits(self, way: int, outputs: int) -> bool:
        """True if a head with this many outputs suffices for tasks with this many classes."""
        raise NotImplementedError

    def require_classes(self, who: str) -> None:
        """Raise UserError where tasks have no classes."""

    def balanced_order(self, y: Tensor) -> Tensor:
        """Rows of each support set in an order whose successive batches are balanced over classes: int64 [T, B]."""
        raise NotImplementedError

    def shot_factor(self, way: int) -> int:
        """The factor between `reduction=mean` and `reduction=shot_mean`."""
        raise NotImplementedError


class Classification(Objective):
    """Cross-entropy in nats; the score is the accuracy."""

    name, task, bounded = "accuracy", "classification", True

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy of each task [T].

        Args:
            outputs: [T, B, way]; y: int64 [T, B].

        Raises:
            UserError: a label without an output.
        """
        try:
            each = F.cross_entropy(outputs.flatten(0, 1), y.flatten(), reduction="none")
        except IndexError as error:  # on the CPU
            raise UserError(
                f"labels of {int(y.min())} to {int(y.max())}, and the model's head has {outputs.shape[-1]} outputs"
            ) from error
        return each.view(y.shape).mean(1)

    def score(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Accuracy of each task [T]; 0 where an output is not finite."""
        return (outputs.argmax(-1) == y).float().mean(1) * outputs.flatten(1).isfinite().all(1)

    def better(self, a: float, b: float) -> bool:
        """True if accuracy a is higher."""
        return a > b

    def as_loss(self, score: float) -> float:
        """The error rate."""
        return 1 - score

    def spell(self, score: float, ci95: float) -> str:
        """An accuracy in percent."""
        return percent(score, ci95)

    def task_words(self, way: int, shot: int) -> str:
        """Ways and shots."""
        return f"{way}-way {shot}-shot"

    def fits(self, way: int, outputs: int) -> bool:
        """True if every class has an output."""
        return way <= outputs

    def balanced_order(self, y: Tensor) -> Tensor:
        """Go round the classes: the first example of each, the second of each, ..., whatever the order in y."""
        same = y[:, :, None] == y[:, None, :]
        rank = same.tril().sum(2)  # which example of its class each is
        return (rank * (y.shape[1] + 1) + y).argsort(1)

    def shot_factor(self, way: int) -> int:
        """The sum over classes of means over shots is N times the mean over examples."""
        return way


class Regression(Objective):
    """Mean squared error, as loss and as score."""

    name, task, bounded = "mse", "regression", False

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean squared error of each task [T], for outputs and y [T, B, D]."""
        return (outputs - y).square().flatten(1).mean(1)

    def score(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The same value as `loss`."""
        return self.loss(outputs, y)

    def better(self, a: float, b: float) -> bool:
        """True if error a is lower."""
        return a < b

    def as_loss(self, score: float) -> float:
        """The score itself."""
        return score

    def spell(self, score: float, ci95: float) -> str:
        """A mean squared error with four decimals."""
        return decimal(score, ci95)

    def task_words(self, way: int, shot: int) -> str:
        """Shots; there are no ways."""
        return f"{shot}-shot regression"

    def fits(self, way: int, outputs: int) -> bool:
        """Always true: there are no classes."""
        return True

    def require_classes(self, who: str) -> None:
        """Raise UserError: there are no classes."""
        raise UserError(f"{who}: needs classes, and this is regression")

    def balanced_order(self, y: Tensor) -> Tensor:
        """The order as given."""
        return torch.arange(y.shape[1], device=y.device).expand(len(y), -1)

    def shot_factor(self, way: int) -> int:
        """Without classes both reductions are the same."""
        return 1


OBJECTIVES: tuple[Objective, ...] = (Classification(), Regression())


def objective_named(name: str) -> Objective:
    """The objective whose task or score has this name, such as `regression` or `mse`."""
    return next(objective for objective in OBJECTIVES if name in (objective.task, objective.name))


def objective_for(regression: bool) -> Objective:
    """The objective of a data set."""
    return OBJECTIVES[int(regression)]
