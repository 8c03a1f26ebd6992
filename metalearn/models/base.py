"""The contract of a model: a backbone with a linear head."""

from torch import Tensor, nn

from metalearn.models.norm import BatchNorm

Weights = dict[str, Tensor]  # by parameter name; with a leading task dimension where they differ between tasks
HEAD = ("head.weight", "head.bias")


class MetaModel(nn.Module):
    """A backbone with a linear head. Subclasses set `head` and define `features`."""

    head: nn.Linear

    def features(self, x: Tensor) -> Tensor:
        """Inputs [B, ...] to features [B, D]."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Inputs [B, ...] to outputs [B, way]."""
        outputs: Tensor = self.head(self.features(x))
        return outputs

    def norm_channels(self) -> list[int]:
        """Channels of every batch-norm layer, in the order in which a forward pass meets them."""
        return [m.channels for m in self.modules() if isinstance(m, BatchNorm)]

    def norm_parameters(self) -> set[str]:
        """Names of batch norm's gamma and beta."""
        layers = [name for name, module in self.named_modules() if isinstance(module, BatchNorm)]
        return {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
