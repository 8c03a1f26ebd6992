"""Replace torch's layers that keep a state or draw random numbers by metalearn's.

Many tasks run through a model at once, each with weights of its own, and steps may be computed again. A layer must
therefore be a pure function of its weights and inputs. torch's batch norm keeps running statistics, and its dropout
draws from a generator; metalearn's take both from the present pass (metalearn.models.norm.NormContext).
"""

import copy
from typing import TypeVar

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from metalearn.models.dropout import Dropout
from metalearn.models.norm import BatchNorm
from metalearn.runtime.errors import UserError

Model = TypeVar("Model", bound=nn.Module)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
BY_CHANNEL = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
RANDOM = (nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU)


def pure(model: Model) -> Model:
    """The model with torch's batch norm and dropout layers replaced; the same object where there are none.

    Batch norm keeps its names, parameters and eps. Its running statistics are left out: `norm=` says which statistics
    are used.

    Raises:
        UserError: a layer that keeps a state or draws random numbers and has no counterpart.
    """
    if not any(_counterpart(layer, name) for name, layer in model.named_modules()):
        return model
    model = copy.deepcopy(model)
    made: dict[int, nn.Module | None] = {}  # a layer that is used in several places stays one
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is None:
                continue
            if id(child) not in made:
                made[id(child)] = _counterpart(child, name)
            if (other := made[id(child)]) is not None:
                parent._modules[name] = other
    return model


def _counterpart(layer: nn.Module, name: str) -> nn.Module | None:
    """The layer that replaces this one; None if it stays."""
    kind = type(layer)
    if kind in NORMS:
        assert isinstance(layer, _NormBase)
        made = BatchNorm(layer.num_features, layer.eps)
        made.weight, made.bias = layer.weight, layer.bias
        return made
    if kind is nn.Dropout or kind in BY_CHANNEL:
        assert isinstance(layer, nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d)
        return Dropout(layer.p, by_channel=kind in BY_CHANNEL)
    if isinstance(layer, _NormBase) and layer.running_mean is not None:
        raise UserError(
            f"model: layer {name} ({kind.__name__}) keeps running statistics, which tasks cannot share: "
            "use nn.BatchNorm2d, or set track_running_stats=False"
        )
    if isinstance(layer, RANDOM):
        raise UserError(
            f"model: layer {name} ({kind.__name__}) draws random numbers that could not be drawn again: use nn.Dropout"
        )
    return None
