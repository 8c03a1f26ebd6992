"""Explain why a model cannot run over many tasks at once, naming its layer."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from metalearn.models.head import WithHead
from metalearn.runtime.errors import UserError, described

CAUSES = {
    "random operation": "draws random numbers, which could not be drawn again: use the module nn.Dropout",
    "other values": "gives other values when it is called again with the same inputs: leave out what it draws or keeps",
    "data-dependent control flow": "branches on the values of a tensor, which differ between tasks: use torch.where",
    ".item()": "takes a Python number out of a tensor, which differs between tasks: compute with tensors",
    "dynamic shape": "makes a tensor whose shape depends on values, which differ between tasks: use a mask",
    "in-place": "changes in place a tensor that all tasks share, such as a buffer: compute a new tensor",
    "inplace": "changes in place a tensor that all tasks share, such as a buffer: compute a new tensor",
    "output with shape": "changes in place a tensor that all tasks share, such as a buffer: compute a new tensor",
}


def explained(error: Exception, model: nn.Module, again: Callable[[], Any], certain: bool) -> UserError | None:
    """Explain an error in one line that names the layer; None where batching over tasks is not its cause.

    Args:
        error: raised by a forward pass of the model.
        again: repeats that pass, and so the error.
        certain: True if the pass has succeeded for one task alone, so that batching must be the cause.
    """
    text = " ".join(str(error).split())
    if isinstance(error, UserError | torch.OutOfMemoryError):
        return None
    if not certain and "vmap" not in text and not text.startswith("output with shape"):
        return None
    found = [say for sign, say in CAUSES.items() if sign in text]
    say = found[0] if found else f"cannot run over many tasks at once: {described(error)}"
    return UserError(f"model: {innermost_layer(model, again)} {say}")


def changed_state(model: nn.Module, name: str) -> UserError:
    """The error of a model that keeps a state.

    Args:
        model: with its layers.
        name: of the buffer, parameter or attribute that is changed, such as `layer.calls`.
    """
    place, _, own = name.rpartition(".")
    layer = model.get_submodule(place)
    kind = "buffer" if own in layer._buffers else "parameter" if own in layer._parameters else "attribute"
    return UserError(
        f"model: {spell_layer(model, place, layer)} changes its {kind} {own} in the forward pass; a model here has no "
        f"state but its parameters: leave the {kind} as it is"
    )


def innermost_layer(model: nn.Module, again: Callable[[], Any]) -> str:
    """Name the innermost layer in which a pass fails.

    Args:
        model: with its layers.
        again: repeats the pass.
    """
    inside: list[tuple[str, nn.Module]] = []

    def enter(name: str, layer: nn.Module, _: Any) -> None:
        inside.append((name, layer))

    def leave(layer: nn.Module, *_: Any) -> None:
        inside.pop()

    hooks = [layer.register_forward_pre_hook(partial(enter, name)) for name, layer in model.named_modules()]
    hooks += [layer.register_forward_hook(leave) for layer in model.modules()]
    try:
        again()
    except Exception:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    name, layer = inside[-1] if inside else ("", model)
    return spell_layer(model, name, layer)


def spell_layer(model: nn.Module, name: str, layer: nn.Module) -> str:
    """Name a layer as the user knows it, for messages; the whole model by its class."""
    if isinstance(model, WithHead) and (name + ".").startswith("body."):
        name = name.removeprefix("body").removeprefix(".")
    if isinstance(layer, WithHead):
        layer = layer.body
    return f"layer {name} ({type(layer).__name__})" if name else type(layer).__name__
