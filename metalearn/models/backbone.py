"""Any torch module as the body of a model."""

from torch import Tensor, nn

from metalearn.models.base import MetaModel
from metalearn.models.norm import NormContext


class Backbone(MetaModel):
    """A module that computes features, and a linear head at zero.

    Its batch norm and dropout layers may be those of torch (metalearn.models.torch_layers).

    Args:
        body: maps inputs [B, ...] to features [B, width].
        width: number of features.
        outputs: number of ways, or dimension of the regression target.
    """

    way_out = "Backbone(module, width={}, outputs=...)"

    def __init__(self, body: nn.Module, *, width: int, outputs: int):
        super().__init__()
        self.body = body
        self.head = nn.Linear(width, outputs)
        nn.init.zeros_(self.head.weight)  # no way is preferred before adaptation
        nn.init.zeros_(self.head.bias)

    def class_name(self) -> str:
        """Return the name of the class of the body."""
        return type(self.body).__name__

    def features(self, x: Tensor, norm: NormContext) -> Tensor:
        """Inputs [B, ...] to features [B, width]."""
        features: Tensor = self.body(x)
        return features
