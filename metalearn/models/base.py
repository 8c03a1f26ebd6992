"""The contract of a model: a backbone with a linear head."""

from typing import ClassVar

from torch import Tensor, nn

from metalearn.errors import UserError
from metalearn.models.norm import BatchNorm, NormContext

Weights = dict[str, Tensor]  # by parameter name; with a leading task dimension where they differ between tasks
HEAD = ("head.weight", "head.bias")


class MetaModel(nn.Module):
    """A backbone with a linear head. Subclasses set `head` and define `features`."""

    head: nn.Linear
    way_out: ClassVar[str] = "self.head = nn.Linear({}, outputs)"  # of a head of another width

    def features(self, x: Tensor, norm: NormContext) -> Tensor:
        """Inputs [B, ...] to features [B, D]."""
        raise NotImplementedError

    def forward(self, x: Tensor, norm: NormContext) -> Tensor:
        """Inputs [B, ...] to outputs [B, way]."""
        features = self.features(x, norm)
        self.check_width(features)
        outputs: Tensor = self.head(features)
        return outputs

    def class_name(self) -> str:
        """Return the name of the class, for messages."""
        return type(self).__name__

    def check_width(self, features: Tensor) -> None:
        """Raise UserError where the head takes another number of features [..., D] than there are."""
        given, taken = features.shape[-1], self.head.in_features
        if given != taken:
            way_out = self.way_out.format(given)
            raise UserError(
                f"model={self.class_name()}: head takes {taken} features, the body gives {given}: {way_out}"
            )

    def features_batched(self, weights: Weights, x: Tensor, norm: NormContext, second_order: bool) -> Tensor:
        """Compute `features` of many tasks at once, by the model's own kernels; `engine.kernel=grouped` uses it.

        Args:
            weights: by name, of the parameter's own shape, or [T, ...] where they differ between tasks.
            x: [T, B, ...].
            norm: as in `features`; batch statistics are collected as [2, T*C], task by task.
            second_order: True if second derivatives may be asked for.

        Returns:
            features [T, B, D].
        """
        raise NotImplementedError

    @property
    def has_kernels(self) -> bool:
        """True if the class has batched kernels for its `features`: a subclass that overrides that alone has none."""
        line = type(self).__mro__
        first = {
            name: next(i for i, c in enumerate(line) if name in vars(c)) for name in ("features_batched", "features")
        }
        own = type(self).features_batched is not MetaModel.features_batched and type(self).forward is MetaModel.forward
        return own and first["features_batched"] <= first["features"]

    def norm_channels(self) -> list[int]:
        """Channels of every batch-norm layer, in the order in which a forward pass meets them."""
        return [m.channels for m in self.modules() if isinstance(m, BatchNorm)]

    def norm_parameters(self) -> set[str]:
        """Names of batch norm's gamma and beta."""
        layers = [name for name, module in self.named_modules() if isinstance(module, BatchNorm)]
        return {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
