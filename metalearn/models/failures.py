"""Explain why a model cannot run over many tasks at once, naming its layer."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from metalearn.errors import UserError
from metalearn.models.head import WithHead

CAUSES = {
    "random operation": "draws random numbers, which could not be drawn again: use the module nn.Dropout",
    "data-dependent control flow": "branches on the values of a tensor, which differ between tasks: use torch.where",
    ".item()": "takes a Python number out of a tensor, which differs between tasks: compute with tensors",
    "dynamic shape": "makes a tensor whose shape depends on values, which differ between tasks: use a mask",
    "in-place": "changes in place a tensor that all tasks share, such as a buffer: compute a new tensor",
    "inplace": "changes in place a tensor that all tasks share, such as a buffer: compute a new tensor",
    "output with shape": "changes in place a tensor that all tasks share, such as a buffer: compute a new tensor",
}


def explained(error: RuntimeError, model: nn.Module, again: Callable[[], Any]) -> UserError | None:
    """Explain an error in one line that names the layer; None where batching over tasks is not its cause.

    Args:
        error: raised by a forward pass of the model.
        again: repeats that pass, and so the error.
    """
    text = " ".join(str(error).split())
    if "vmap" not in text and not text.startswith("output with shape"):
        return None
    found = [say for sign, say in CAUSES.items() if sign in text]
    say = found[0] if found else f"cannot run over many tasks at once ({text[:200]})"
    return UserError(f"model: {innermost_layer(model, again)} {say}")


def changed_state(kind: str, name: str) -> UserError:
    """The error of a model that keeps a state.

    Args:
        kind: `buffer` or `attribute`.
        name: of what is changed, such as `layer.calls`.
    """
    return UserError(
        f"model: {kind} {name} is changed in the forward pass; a model here has no state but its parameters: leave "
        f"the {kind} as it is"
    )


def innermost_layer(model: nn.Module, again: Callable[[], Any]) -> str:
    """Name the innermost layer in which a pass ends.

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
