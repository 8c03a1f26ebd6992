"""Modes of the kernels: the choices for the forward passes of the present context."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_second_order: ContextVar[bool] = ContextVar("second_order", default=False)
_fused: ContextVar[bool] = ContextVar("fused", default=True)


@contextmanager
def differentiated_twice(needed: bool) -> Iterator[None]:
    """Set whether the outputs of forward passes inside will be differentiated twice; without it, they are cheaper.

    The inner loop sets it. Differentiating twice through a pass that was made without it raises RuntimeError.
    """
    with _set(_second_order, needed):
        yield


@contextmanager
def chains_fused(allowed: bool) -> Iterator[None]:
    """Set whether forward passes inside may compute a chain of layers as one function; else layer by layer."""
    with _set(_fused, allowed):
        yield


def is_differentiated_twice() -> bool:
    """True if outputs may be differentiated twice."""
    return _second_order.get()


def are_chains_fused() -> bool:
    """True if a chain of layers may be one function."""
    return _fused.get()


@contextmanager
def _set(variable: ContextVar[bool], value: bool) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
