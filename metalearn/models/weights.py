"""The type of a model's weights."""

from torch import Tensor

Weights = dict[str, Tensor]  # by parameter name; with a leading task dimension where they differ between tasks
