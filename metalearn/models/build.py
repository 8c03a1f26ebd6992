"""Build any torch module as a model from its settings."""

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from metalearn.config.instantiate import UnknownSetting, build, check
from metalearn.config.locate import accepted, locate
from metalearn.models.checks import feature_width
from metalearn.models.head import NEW, PAGE, WithHead, find_head, name_of
from metalearn.models.torch_layers import pure
from metalearn.runtime.errors import UserError

OWN = {"head": str | None, "repeat_channels": int | None}  # settings of every model, not passed to its constructor
MOST_CHANNELS = 64
WAYS = ("outputs", "num_classes")  # arguments that take the number of ways


def build_model(node: Mapping[str, Any], shape: Sequence[int], outputs: int) -> nn.Module:
    """Build a module, and put a head on it with `head=new`.

    Args:
        node: the group `model` of a configuration: `_target_`, arguments of the constructor, and

            - `head`: the name of the layer that is the head; `new` for a module of features, which is then given a
              linear head at zero; None for the last nn.Linear.
            - `repeat_channels`: repeat the channels of grey images to this many, for a network of colour images.
        shape: of one input; given to a constructor that takes `shape`.
        outputs: number of ways, or dimension of the regression target; given to a constructor that takes `outputs` or
            `num_classes`. With `**kwargs` it is given as `num_classes`, as torchvision's functions take it.

    Raises:
        UserError: a wrong setting, a target that makes no module, or a head with another number of outputs.
    """
    own = {name: node.get(name) for name in OWN}
    for name, value in own.items():
        check(value, OWN[name], f"model.{name}")
    settings = {name: value for name, value in node.items() if name not in OWN}
    given: dict[str, Any] = {}
    if isinstance(settings.get("_target_"), str):
        target = locate(settings["_target_"], "model._target_", nn.Module)
        given = _given(target, tuple(shape), outputs, has_head=own["head"] != NEW)
    if own["head"] == NEW and (ways := [name for name in given if name in WAYS]):
        raise UserError(
            f"model.head=new: {settings['_target_'].rpartition('.')[2]} takes {ways[0]}=, the number of ways, and so "
            "has a head of its own: leave model.head out"
        )
    if twice := [name for name in given if name in settings]:
        raise UserError(f"model.{twice[0]}: is known from the data and the number of ways; leave it out")
    try:
        model = build(settings, "model", nn.Module, **given)
    except UnknownSetting as error:  # perhaps a setting of the chosen model, of which only `_target_` was replaced
        if not error.place.partition(".")[2]:
            error.args = (f"{error}; or choose model=module, which has the settings of the target alone",)
        raise
    if (channels := own["repeat_channels"]) is not None:
        if not 1 <= channels <= MOST_CHANNELS:
            raise UserError(f"model.repeat_channels={channels}: must be 1 to {MOST_CHANNELS}")
        model.register_forward_pre_hook(partial(_repeat, channels))
    if own["head"] == NEW:
        return WithHead(model, feature_width(pure(model), shape), outputs)
    head = find_head(model, own["head"])
    if head.out_features != outputs:
        other = "" if head.is_named else ", name another layer by model.head="
        how = f"let its constructor take outputs or num_classes{other}, or give it features and set model.head={NEW}"
        raise UserError(
            f"model={name_of(model)}: its head {head.module or 'the model'} has {head.out_features} outputs, and "
            f"{outputs} are needed: {how}{PAGE}"
        )
    return model


def head_setting(node: Mapping[str, Any]) -> str | None:
    """The name of the head that the settings of a model give; None for the last nn.Linear."""
    return "head" if node.get("head") == NEW else node.get("head")


def _given(target: Any, shape: tuple[int, ...], outputs: int, has_head: bool) -> dict[str, Any]:
    """The arguments of a constructor that metalearn knows."""
    names = accepted(target)
    given: dict[str, Any] = {"shape": shape} if "shape" in names else {}
    ways = [name for name in WAYS if name in names]
    if not ways and has_head and any(p.kind is p.VAR_KEYWORD for p in inspect.signature(target).parameters.values()):
        ways = ["num_classes"]
    return given | dict.fromkeys(ways, outputs)


def _repeat(channels: int, _: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Repeat the channels of images [B, C, H, W]."""
    x = inputs[0]
    return (torch.cat([x] * (channels // x.shape[1]), 1), *inputs[1:])
