"""Controls of training length, composed in conf/control/*.yaml and on the command line."""

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
from metalearn.controls.loop import CYCLE, Control
from metalearn.controls.wrappers import Skip, WarmUp
from metalearn.runtime.errors import UserError

ALL = {
    kind.__name__: kind
    for kind in (Step, Evaluate, Save, NumberLimit, TimeLimit, Patience, NumberSinceBest, Threshold, GL, PQ,
                 InvalidValue, WarmUp, Skip, Info, Warn, Error, WithLoss, WithTrainingLosses, WithModel, Callback)
}  # fmt: skip

WRAPPERS = ("WarmUp", "Skip")  # their setting `control` is another control

__all__ = ["ALL", "Control", "make", "make_all", *ALL]


def make(name: str, settings: Mapping[str, Any] | None, place: str = CYCLE) -> Control:
    """Build a control.

    Args:
        name: a name in `ALL`, or any name if the settings have a `_target_`.
        settings: arguments of the control. `_target_` is the dotted path of a user-defined class.
        place: where the control is in the configuration, for error messages.

    Raises:
        UserError: unknown control, or invalid settings.
    """
    where = f"{place}.{name}"
    settings = {} if settings is None else settings
    if not isinstance(settings, Mapping):
        raise UserError(f"{where}={settings}: expects a group of settings, such as {{n: 5}}")
    if "_target_" not in settings and name not in ALL:
        raise UserError(f"{where}: unknown control; choose from {', '.join(ALL)}, or name a class with _target_")
    given = {}
    if name in WRAPPERS and "control" in settings:
        given["control"] = _inner(settings["control"], f"{where}.control")
        settings = {key: value for key, value in settings.items() if key != "control"}
    return build({"_target_": f"metalearn.controls.{name}", **settings}, where, Control, **given)


def _inner(control: Any, where: str) -> Control:
    """Build the control inside a wrapper from {NAME: {its settings}}."""
    if not isinstance(control, Mapping) or len(control) != 1:
        raise UserError(f"{where}={control}: must be one control, such as {{Patience: {{n: 5}}}}")
    ((name, settings),) = control.items()
    return make(str(name), settings, where)


def make_all(cycle: Mapping[str, Any], place: str = CYCLE) -> dict[str, Control]:
    """Build the controls of a cycle, by name and in order; arguments as for `make`."""
    return {str(name): make(str(name), settings, place) for name, settings in cycle.items()}
