"""Values and functions named in settings of controls: `grad_norm`, `grad_norm > 100`, `mypackage.function`."""

import operator
import re
from collections.abc import Callable
from typing import Any

from metalearn.config.locate import locate
from metalearn.controls.loop import ControlLoop, Failed, Plan
from metalearn.runtime.errors import UserError, described
from metalearn.runtime.signals import Stopped

_COMPARE = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def predicate(text: str) -> tuple[str | None, Callable[[ControlLoop], bool]]:
    """Parse a predicate: a comparison such as `grad_norm > 100`, or the dotted path of a function.

    Returns:
        The name of the compared value (None for a dotted path), and a function of the loop that returns True or False.

    Raises:
        ValueError: the text is neither, or the function cannot be imported.
    """
    found = re.fullmatch(r"\s*(\w+)\s*(<=|>=|==|!=|<|>)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*", text)
    if not found:
        if not re.fullmatch(r"\w+(\.\w+)+", text):
            raise ValueError(f"predicate={text}: must be a comparison such as 'grad_norm > 100', or package.function")
        holds_for = function(text, "predicate")
        return None, lambda run: bool(call_own(text, holds_for, run))
    name, compare, number = found[1], _COMPARE[found[2]], float(found[3])

    def holds(run: ControlLoop) -> bool:
        value = value_of(name, run)
        return value is not None and bool(compare(value, number))

    return name, holds


def function(path: str, setting: str = "f") -> Callable[..., Any]:
    """Import a function by its dotted path.

    Raises:
        ValueError: it cannot be imported.
    """
    try:
        found: Callable[..., Any] = locate(path, setting, None)
    except UserError as error:
        raise ValueError(str(error)) from error  # the caller adds the full name of the setting
    return found


def call_own(path: str, f: Callable[..., Any], argument: Any) -> Any:
    """Call a function of the user. If it raises, end the run with one line that names the place in its code.

    Raises:
        Failed: the function raised. The run is saved and can be resumed after the function is fixed.
    """
    try:
        return f(argument)
    except (UserError, Failed, Stopped):
        raise
    except Exception as error:
        raise Failed(f"{path} raised {described(error)}") from error


def value_of(name: str, run: ControlLoop) -> float | None:
    """Return a value by its name, or None if it was not recorded at this step."""
    own = {"step": run.step, "loss": run.loss, "seconds": run.seconds, "cycles": len(run.cycles)}
    return own[name] if name in own else run.model.values.get(name)


def known(name: str, plan: Plan, where: str) -> None:
    """Raise UserError if no value will ever have this name."""
    names = ["loss", "seconds", "cycles", *plan.names]
    if name not in names:
        raise UserError(f"{where}: unknown value {name}; choose from {', '.join(dict.fromkeys(names))}")
