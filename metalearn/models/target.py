"""Build the model that `model._target_` names: a MetaModel, or any module of torch, which is made one."""

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from metalearn.config.instantiate import build
from metalearn.config.locate import accepted, locate, returned
from metalearn.errors import UserError
from metalearn.models.backbone import Backbone
from metalearn.models.base import MetaModel
from metalearn.models.checks import PAGE, passed, spelled

WAYS = ("outputs", "num_classes")  # arguments by which a module takes the number of ways
MOST_PARTS = 20_000  # layers and parameters of a model: a file may ask for any number


def build_model(node: Mapping[str, Any], shape: Sequence[int], outputs: int) -> MetaModel:
    """Build a model with fresh weights.

    A MetaModel is given `shape` and `outputs`. Any other module is given those of them that its constructor takes, and
    `num_classes` for `outputs`. If it takes the number of ways, the `nn.Linear` that gives its scores becomes the head.
    Otherwise what it gives are features, and a linear head at zero is put on them.

    Args:
        node: the settings, with `_target_`.
        shape: of one input, without the batch dimension.
        outputs: the number of ways, or the dimension of a regression target.

    Raises:
        UserError: the settings do not fit, or the module gives neither features nor scores.
    """
    if not isinstance(node, Mapping) or "_target_" not in node:
        return build(node, "model", MetaModel)  # refused
    found = locate(str(node["_target_"]), "model._target_", nn.Module)
    kind = returned(found)
    if inspect.isclass(kind) and issubclass(kind, MetaModel):
        return build(node, "model", MetaModel, shape=tuple(shape), outputs=outputs)
    names = accepted(found)
    ways = next((name for name in WAYS if name in names and name not in node), None)
    given = ({"shape": tuple(shape)} if "shape" in names else {}) | ({ways: outputs} if ways else {})
    module = build(node, "model", nn.Module, **given)
    if isinstance(module, MetaModel):
        return module
    return with_own_head(module, shape, outputs) if ways else with_new_head(module, shape, outputs)


def with_new_head(module: nn.Module, shape: Sequence[int], outputs: int) -> Backbone:
    """Make a model of a module that gives features."""
    features, _ = _outputs(module, shape)
    return Backbone(module, width=features.shape[1], outputs=outputs)


def with_own_head(module: nn.Module, shape: Sequence[int], outputs: int) -> Backbone:
    """Make a model of a module that gives scores: the `nn.Linear` that computes them becomes its head."""
    scores, name = _outputs(module, shape)
    kind = type(module).__name__
    if scores.shape[1] != outputs:
        raise UserError(f"model={kind}: gives {scores.shape[1]} scores; it was asked for {outputs}{PAGE}")
    if not name:
        raise UserError(
            f"model={kind}: its scores are not the output of an nn.Linear, so that it has no head; let it give "
            f"features and leave {' and '.join(WAYS)} out of its arguments{PAGE}"
        )
    head = module.get_submodule(name)
    assert isinstance(head, nn.Linear)
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, nn.Identity())
    model = Backbone(module, width=head.in_features, outputs=outputs)
    model.head = head
    return model


def _outputs(module: nn.Module, shape: Sequence[int]) -> tuple[Tensor, str]:
    """Run two inputs through a copy of a module.

    Returns:
        what it gives, [2, D]; and the name of the `nn.Linear` that computes this and is used once, or an empty name.
    """
    given: dict[str, list[Tensor]] = {}
    module = copy.deepcopy(module).eval()
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            note = given.setdefault(name, []).append
            layer.register_forward_hook(lambda layer, inputs, output, note=note: note(output))
    place = next((p.device for p in module.parameters()), None)
    x = torch.zeros(2, *shape, device=place)
    made = passed(module, module, x)
    if not isinstance(made, Tensor) or len(made) != len(x) or made.ndim != 2:
        raise UserError(f"model={type(module).__name__}: gives {spelled(made)} for 2 inputs; it must give one row of "
                        f"features or scores an input, as x.flatten(1) does{PAGE}")  # fmt: skip
    return made, next((name for name, all_ in given.items() if len(all_) == 1 and all_[0] is made), "")


@contextmanager
def bounded() -> Iterator[None]:
    """Refuse a model of more layers than any has, while it is built; otherwise memory or patience would end first."""
    count = 0

    def note(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > MOST_PARTS:
            raise UserError(f"model: more than {MOST_PARTS} layers and parameters")

    hooks = [register_module_module_registration_hook(note), register_module_parameter_registration_hook(note)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
