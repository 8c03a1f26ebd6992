"""Check a model before anything is trained: its head, and one pass of two inputs."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from metalearn.errors import UserError, described
from metalearn.models.base import MetaModel
from metalearn.models.failures import innermost_layer
from metalearn.models.norm import NormContext, using_context

_PAGE = "; see docs/extending.md#a-model"


def check_head(model: nn.Module) -> None:
    """Check that a model is a MetaModel with a linear head.

    Raises:
        UserError: it is not.
    """
    name = type(model).__name__
    if not isinstance(model, MetaModel):
        raise UserError(f"model={name}: must be a metalearn.models.base.MetaModel; for any other module: "
                        f"metalearn.models.backbone.Backbone(module, width=..., outputs=...){_PAGE}")  # fmt: skip
    head = getattr(model, "head", None)
    if head is None:
        raise UserError(f"model={name}: has no head: set self.head = nn.Linear(features, outputs){_PAGE}")
    if not isinstance(head, nn.Linear) or head.bias is None:
        what = "has no bias" if isinstance(head, nn.Linear) else f"is of the class {type(head).__name__}"
        raise UserError(f"model={name}: head {what}; it must be nn.Linear(features, outputs), with a bias{_PAGE}")
    if lazy := [name for name, parameter in model.named_parameters() if is_lazy(parameter)]:
        raise UserError(f"model={name}: {lazy[0]} has no shape yet: give all widths, as nn.Linear does{_PAGE}")


def check_forward(model: MetaModel, shape: Sequence[int], targets: int | None = None) -> None:
    """Run two inputs through a copy of a model, so that a mistake in it is found at once. Random generators are kept.

    Args:
        model: with weights in memory.
        shape: of one input, without the batch dimension.
        targets: the dimension of a regression target; None in classification.

    Raises:
        UserError: the pass fails, or widths do not fit; in one line that names the layer.
    """
    check_head(model)
    model = copy.deepcopy(model).eval()
    x = torch.zeros(2, *shape, device=model.head.weight.device)
    kind, width = type(model), model.head.in_features
    if kind.features is not MetaModel.features:
        features = _passed(model, model.features, x)
        if not isinstance(features, Tensor) or features.shape[:1] != x.shape[:1] or features.ndim != 2:
            raise UserError(f"model={kind.__name__}: features gives {_spell(features)}; it must give one row of "
                            f"numbers an input, as x.flatten(1) does{_PAGE}")  # fmt: skip
        if features.shape[1] != width:
            given = features.shape[1]
            raise UserError(f"model={kind.__name__}: head takes {width} features, the body gives {given}: "
                            f"self.head = nn.Linear({given}, outputs)")  # fmt: skip
    outputs = model.head.out_features
    if kind.forward is not MetaModel.forward or kind.features is MetaModel.features:
        made = _passed(model, model, x)
        if not isinstance(made, Tensor) or tuple(made.shape) != (2, outputs):
            raise UserError(f"model={kind.__name__}: forward gives {_spell(made)} for 2 inputs; it must give the "
                            f"{outputs} outputs of the head for each{_PAGE}")  # fmt: skip
    if targets is not None and outputs != targets:
        raise UserError(f"model={kind.__name__}: head has {outputs} outputs, and targets have {targets}")


def _passed(model: MetaModel, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Call a method of the model without gradients."""

    def once() -> Tensor:
        with torch.no_grad(), using_context(NormContext()), torch.random.fork_rng(devices=[]):
            return function(x)

    try:
        return once()
    except UserError:
        raise
    except Exception as error:
        where, shape = innermost_layer(model, once), "x".join(map(str, x.shape[1:]))
        raise UserError(
            f"model={type(model).__name__}: {where} fails on inputs of {shape}: {described(error)}"
        ) from error


def _spell(value: object) -> str:
    return f"the shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
