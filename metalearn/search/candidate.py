"""Configurations that a study hands out, and what trains them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metalearn.controls.loop import Control


@dataclass(frozen=True)
class Candidate:
    """A configuration to train.

    Args:
        number: of the trial; a promoted or retried trial keeps its number.
        values: hyperparameters by name.
        overrides: the same as words of the command line.
        controls: to be added to the controls of its training, after the one that measures.
    """

    number: int
    values: Mapping[str, Any]
    overrides: Sequence[str]
    controls: Mapping[str, Control]


Evaluator = Callable[[Candidate], Sequence[float]]  # trains one; returns a score for each objective
