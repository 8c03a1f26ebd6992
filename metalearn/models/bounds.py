"""Bound the size of a model while it is built."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode

from metalearn.runtime.errors import UserError

_FILLS = (Tensor.normal_, Tensor.uniform_)
MOST_PARTS = 20_000  # layers and parameters of a model


@contextmanager
def bounded() -> Iterator[None]:
    """Raise UserError as soon as a model that is being built has more than MOST_PARTS layers and parameters.

    A configuration file may ask for any number of layers. Without a limit, building them could fill the memory.
    """
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


class WithoutFilling(TorchFunctionMode):
    """Skip the random initialization of weights where only shapes are needed.

    On the meta device, torch would import its compiler to draw random numbers.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func in _FILLS else func(*args, **(kwargs or {}))
