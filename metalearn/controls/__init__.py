"""Iteration controls, composed in conf/control/*.yaml and on the command line."""

from collections.abc import Mapping
from typing import Any

from metalearn.config.instantiate import build
from metalearn.controls.actions import (
    Callback,
    Error,
    Evaluate,
    Info,
    Save,
    Step,
    Warn,
    WithLoss,
    WithModel,
    WithTrainingLosses,
)
from metalearn.controls.criteria import (
    GL,
    PQ,
    InvalidValue,
    NumberLimit,
    NumberSinceBest,
    Patience,
    Threshold,
    TimeLimit,
)
from metalearn.controls.loop import Control
from metalearn.controls.wrappers import Skip, WarmUp
from metalearn.errors import UserError

ALL = {
    kind.__name__: kind
    for kind in (Step, Evaluate, Save, NumberLimit, TimeLimit, Patience, NumberSinceBest, Threshold, GL, PQ,
                 InvalidValue, WarmUp, Skip, Info, Warn, Error, WithLoss, WithTrainingLosses, WithModel, Callback)
}  # fmt: skip

WRAPPERS = ("WarmUp", "Skip")  # their setting `control` is a control of its own

__all__ = ["ALL", "Control", "make", "make_all", *ALL]


def make(name: str, settings: Mapping[str, Any] | None, place: str = "control.cycle") -> Control:
    """A control from its name and settings; `_target_` among them names a class of one's own."""
    where = f"{place}.{name}"
    settings = {} if settings is None else settings
    if not isinstance(settings, Mapping):
        raise UserError(f"{where}={settings}: is a group of settings, such as {{n: 5}}")
    if "_target_" not in settings and name not in ALL:
        raise UserError(f"{where}: no such control; there are {', '.join(ALL)}, or any class by its _target_")
    given = {}
    if name in WRAPPERS and "control" in settings:
        given["control"] = _inner(settings["control"], f"{where}.control")
        settings = {key: value for key, value in settings.items() if key != "control"}
    return build({"_target_": f"metalearn.controls.{name}", **settings}, where, Control, **given)


def _inner(control: Any, where: str) -> Control:
    """Make the control inside a wrapper from {NAME: {its settings}}."""
    if not isinstance(control, Mapping) or len(control) != 1:
        raise UserError(f"{where}={control}: must be one control, such as {{Patience: {{n: 5}}}}")
    ((name, settings),) = control.items()
    return make(str(name), settings, where)


def make_all(cycle: Mapping[str, Any]) -> dict[str, Control]:
    """The controls of a cycle, by name and in order."""
    return {str(name): make(str(name), settings) for name, settings in cycle.items()}
