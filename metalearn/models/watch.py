"""Watch a forward pass: it must neither change a state nor draw random numbers."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from metalearn.models.failures import CAUSES, changed_state, spell_layer
from metalearn.models.head import name_of
from metalearn.runtime.errors import UserError

Call = tuple[str, nn.Module, list[Tensor]]  # name of a layer, the layer, its outputs
State = dict[str, tuple[Any, Any]]  # by name: a mark that shows a change, and the value, to keep it alive
_UNSET: list[Any] = [None, []]  # marks of attributes that the first pass may fill, such as a table of positions


def watched(model: nn.Module, once: Callable[[], Any]) -> Any:
    """Run a pass twice, and return the result of the first.

    Args:
        model: with its layers.
        once: runs the pass.

    Raises:
        UserError: it draws random numbers, changes a state, or gives other values the second time.
    """
    state, generators = _state(model), _generators()
    with _calls(model) as first:
        result = once()
    if _generators() != generators:
        raise UserError(f"model: {_drawing_layer(model, once)} {CAUSES['random operation']}")
    _refuse_change(model, {name: held for name, held in state.items() if held[0] not in _UNSET}, _state(model))
    filled = _state(model)
    with _calls(model) as second:
        once()
    _refuse_change(model, filled, _state(model))
    for (name, layer, before), (_, _, after) in zip(first, second, strict=False):
        if not _alike(before, after):
            raise UserError(f"model: {spell_layer(model, name, layer)} {CAUSES['other values']}")
    return result


def _refuse_change(model: nn.Module, before: State, after: State) -> None:
    """Raise UserError if something has changed that was held before."""
    for name, (mark, _) in before.items():
        if name not in after or after[name][0] != mark:
            raise changed_state(model, name)


@contextmanager
def _calls(model: nn.Module) -> Iterator[list[Call]]:
    """List the calls of all layers inside, the innermost first."""
    found: list[Call] = []

    def leave(name: str, layer: nn.Module, _: Any, result: Any) -> None:
        outputs = [leaf.detach().clone() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        found.append((name, layer, outputs))

    hooks = [layer.register_forward_hook(partial(leave, name)) for name, layer in model.named_modules()]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _alike(before: list[Tensor], after: list[Tensor]) -> bool:
    """True if outputs differ by rounding alone."""
    same = partial(torch.allclose, rtol=1e-4, atol=1e-6, equal_nan=True)
    return len(before) == len(after) and all(
        a.shape == b.shape and a.dtype == b.dtype and same(a, b) for a, b in zip(before, after, strict=True)
    )


def _drawing_layer(model: nn.Module, once: Callable[[], Any]) -> str:
    """Name the innermost layer that draws random numbers, by another pass."""
    drawing: list[str] = []
    before: list[Any] = []

    def enter(*_: Any) -> None:
        before.append(_generators())

    def leave(name: str, layer: nn.Module, *_: Any) -> None:
        if before.pop() != _generators() and not drawing:  # the innermost layer is left first
            drawing.append(spell_layer(model, name, layer))

    hooks = [layer.register_forward_pre_hook(enter) for layer in model.modules()]
    hooks += [layer.register_forward_hook(partial(leave, name)) for name, layer in model.named_modules()]
    try:
        once()
    finally:
        for hook in hooks:
            hook.remove()
    return drawing[0] if drawing else name_of(model)


def _generators() -> tuple[Any, ...]:
    """The state of the random generators of torch, Python and NumPy."""
    numpy: Any = np.random.get_state()
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), numpy[1].tobytes(), numpy[2:]


def _state(model: nn.Module) -> State:
    """The values that the layers of a model hold."""
    found: State = {}
    for place, layer in model.named_modules():
        held = {**vars(layer), **layer._buffers, **layer._parameters}
        for name, value in held.items():
            if name not in ("_buffers", "_parameters", "_modules"):
                found[f"{place}.{name}".removeprefix(".")] = _marked(value)
    return found


def _marked(value: Any) -> tuple[Any, Any]:
    if isinstance(value, dict):
        return [(_mark(key), _mark(part)) for key, part in value.items()], dict(value)
    if isinstance(value, (list, tuple, set)):
        return [_mark(part) for part in value], list(value)
    return _mark(value), value


def _mark(value: Any) -> Any:
    if isinstance(value, (bool, int, float, str, type(None))):
        return value
    return (id(value), value._version) if isinstance(value, Tensor) else id(value)
