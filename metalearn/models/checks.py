"""Check a model before anything is trained: its head, and one pass of two inputs."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from metalearn.errors import UserError, described
from metalearn.models.base import MetaModel
from metalearn.models.failures import class_name, innermost_layer
from metalearn.models.norm import NormContext, using_context

PAGE = "; see docs/extending.md#a-model"


def check_head(model: nn.Module) -> None:
    """Check that a model is a MetaModel with a linear head.

    Raises:
        UserError: it is not.
    """
    name = class_name(model)
    if not isinstance(model, MetaModel):
        raise UserError(f"model={name}: must be a metalearn.models.base.MetaModel; for any other module: "
                        f"metalearn.models.backbone.Backbone(module, width=..., outputs=...){PAGE}")  # fmt: skip
    head = getattr(model, "head", None)
    if head is None:
        raise UserError(f"model={name}: has no head: set self.head = nn.Linear(features, outputs){PAGE}")
    if not isinstance(head, nn.Linear) or head.bias is None:
        what = "has no bias" if isinstance(head, nn.Linear) else f"is of the class {type(head).__name__}"
        raise UserError(f"model={name}: head {what}; it must be nn.Linear(features, outputs), with a bias{PAGE}")
    if lazy := [name for name, parameter in model.named_parameters() if is_lazy(parameter)]:
        raise UserError(f"model={name}: {lazy[0]} has no shape yet: give all widths, as nn.Linear does{PAGE}")


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
    kind, name = type(model), model.class_name()
    if kind.features is not MetaModel.features:
        features = passed(model, model.features, x)
        if not isinstance(features, Tensor) or features.shape[:1] != x.shape[:1] or features.ndim != 2:
            raise UserError(f"model={name}: features gives {spelled(features)}; it must give one row of "
                            f"numbers an input, as x.flatten(1) does{PAGE}")  # fmt: skip
        model.check_width(features)
    outputs = model.head.out_features
    if kind.forward is not MetaModel.forward or kind.features is MetaModel.features:
        made = passed(model, model, x)
        if not isinstance(made, Tensor) or tuple(made.shape) != (2, outputs):
            raise UserError(f"model={name}: forward gives {spelled(made)} for 2 inputs; it must give the "
                            f"{outputs} outputs of the head for each{PAGE}")  # fmt: skip
    if targets is not None and outputs != targets:
        raise UserError(f"model={name}: head has {outputs} outputs, and targets have {targets}")


def passed(model: nn.Module, function: Callable[..., Any], x: Tensor) -> Any:
    """Call a method of the model without gradients.

    Raises:
        UserError: it fails; the line names the layer.
    """

    def once() -> Any:
        given = NormContext()
        context = [given] if isinstance(model, MetaModel) else []
        with torch.no_grad(), using_context(given), torch.random.fork_rng(devices=[]):
            return function(x, *context)

    try:
        return once()
    except UserError:
        raise
    except Exception as error:
        where, shape = innermost_layer(model, once), "x".join(map(str, x.shape[1:]))
        raise UserError(f"model={class_name(model)}: {where} fails on inputs of {shape}: {described(error)}") from error


def spelled(value: object) -> str:
    """Describe what a module gave."""
    return f"the shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
