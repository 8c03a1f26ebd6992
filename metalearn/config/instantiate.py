"""Make an object from a config node, with every value checked against the constructor's annotation.

Hydra's own `instantiate` accepts `inner_steps=abc` and fails much later, inside some tensor operation. Checkpoints
use this module too, so a trained learner loads on a machine without Hydra.
"""

import collections.abc
import inspect
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from metalearn.config import trust
from metalearn.config.locate import accepted, locate, page, path
from metalearn.config.names import elsewhere
from metalearn.config.similar import did_you_mean
from metalearn.runtime.errors import UserError, described, place_in_own_code

Made = TypeVar("Made")
_LISTS = (list, tuple, collections.abc.Sequence, collections.abc.Iterable)  # of one kind of values


class UnknownSetting(UserError):
    """A setting that a class or a function does not have.

    Attributes:
        place: the setting that holds it, such as `algo`; empty for a top-level setting.
        name: of the setting.
        owner: the class or the function.
        known: the settings that there are.
    """

    place, name, owner = "", "", ""
    known: Sequence[str] = ()


def build(node: Mapping[str, Any], where: str, kind: type[Made], **given: Any) -> Made:
    """Call `node["_target_"]` with the node's other entries and with `given`.

    Args:
        node: a plain mapping; entries must be keyword arguments of the target.
        where: the node's name in the config, for messages (`algo`, `data`, ...).
        kind: the class of what is built; a target that makes something else is refused before it is called.
        given: arguments that do not come from the config (a model, a device); not type-checked.

    Raises:
        UserError: unknown or missing entry, a value of the wrong type or out of range, or a target that is not trusted
            or makes something else; in one line.
    """
    require_target(node, where)
    target, values = str(node["_target_"]), {k: v for k, v in node.items() if k != "_target_"}
    trust.permit_values(target, values, where)
    made = call(locate(target, f"{where}._target_", kind), values, where, **given)
    if not isinstance(made, kind):
        raise UserError(f"{where}._target_={target}: does not make a {path(kind)}{page(kind)}")
    return made


def require_target(node: Any, where: str) -> None:
    """Raise UserError unless a group of settings says by `_target_` what it makes."""
    if isinstance(node, Mapping) and "_target_" in node:
        return
    if isinstance(node, Mapping) and node:
        raise UserError(
            f"{where}: its settings ({', '.join(map(str, node))}) need a _target_, the path of a class; or choose one "
            f"of the files in conf/{where}/ (see --help)"
        )
    raise UserError(f"{where}={node}: choose one of the files in conf/{where}/ (see --help)")


def call(target: Any, values: Mapping[str, Any], where: str, **given: Any) -> Any:
    """Call `target(**values, **given)` after checking `values` against its annotations.

    Raises:
        UserError: as in `build`.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{where}={values}: expects a group of settings")
    try:
        parameters = inspect.signature(target).parameters
        hints = _hints(target)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}._target_: {target} cannot be built from settings") from error
    prefix = f"{where}." if where else ""
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())  # passes them on, to be checked there
    if unknown := [name for name in values if name in given or (name not in parameters and not open_ended)]:
        raise _unknown(where, unknown, _title(target), [own for own in parameters if own not in given])
    for name, value in values.items():
        check(value, hints.get(name, Any), prefix + name)
    needed = [
        n for n, p in parameters.items() if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    missing = [f"{prefix}{name}" for name in needed if name not in values and name not in given]
    if missing:
        say = "a value is needed" if len(missing) == 1 else "values are needed"
        raise UserError(f"{', '.join(missing)}: {say} for {target.__name__}")
    try:
        return target(**values, **given)
    except ValueError as error:  # constructors state the range in a ValueError, as everywhere in Python
        named = re.match(r"(\w+)[\w.]*[=:]", str(error))  # such as `filters=0: must be ...`
        known = named and (open_ended or named[1] in parameters)
        raise UserError(f"{prefix}{error}" if known or not where else f"{where}: {error}") from error
    except TypeError as error:  # of a constructor that passes settings on to another
        if refused := re.search(r"unexpected keyword argument '(\w+)'", str(error)):
            if refused[1] in values:
                own = [name for name in accepted(target) if name not in given]
                unknown = [name for name in values if name == refused[1] or name not in own]
                raise _unknown(where, unknown, _title(target), own) from error
            raise UserError(f"{where}: {error}") from error
        _refuse_own(error, where)
        raise
    except Exception as error:
        _refuse_own(error, where)
        raise


def _hints(target: Any) -> dict[str, Any]:
    """The annotations of the target's arguments, or {} if one of their names is imported for type checkers alone.

    Names of `typing` and `collections.abc` are found even then.
    """
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return get_type_hints(function)
    except NameError:
        try:
            return get_type_hints(function, localns={**vars(typing), **vars(collections.abc)})
        except NameError:
            return {}


def _unknown(place: str, names: Sequence[str], owner: str, known: Sequence[str]) -> UnknownSetting:
    """Return the error in the words of the command line; it names the first of several unknown settings."""
    name, prefix = names[0], f"{place}." if place else ""
    guess = did_you_mean(name, known, f"{prefix}{{}}", 0.7) or elsewhere(name)
    ways_out = " ".join(f"~{prefix}{other}" for other in names)
    error = UnknownSetting(
        f"{prefix}{name}: {owner} has no such setting{guess}; it has {', '.join(known) or 'none'}; "
        f"leave {'one' if len(names) == 1 else 'them'} out by {ways_out}"
    )
    error.place, error.name, error.owner, error.known = place, name, owner, known
    return error


def _title(target: Any) -> str:
    """Name a class, or a function with its module, such as `glyphs.load`."""
    name = str(target.__name__)
    return name if inspect.isclass(target) else f"{target.__module__.rpartition('.')[2]}.{name}"


def _refuse_own(error: Exception, where: str) -> None:
    """Raise UserError for an error in the user's own code; it names the line."""
    if type(error).__module__.partition(".")[0] != "metalearn" and place_in_own_code(error) is not None:
        raise UserError(f"{where}._target_: {described(error)}") from error


def check(value: Any, hint: Any, where: str) -> None:
    """Raise UserError unless `value` is of the annotated type (int passes as float, bool never as int)."""
    if not _fits(value, hint):
        instead = ""
        if where.endswith("optimizer") and isinstance(value, str):
            instead = f": {where}.name={value}"
        elif hint is int and isinstance(value, float) and value.is_integer():
            instead = f": {where}={value:.0f}"
        raise UserError(f"{where}={value}: must be {_spell(hint)}{instead}")


def _fits(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return any(value == option and type(value) is type(option) for option in get_args(hint))
    if origin in (Union, types.UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin in _LISTS:
        return isinstance(value, (list, tuple)) and all(_fits(v, get_args(hint)[0]) for v in value)
    kind = origin or hint
    return isinstance(value, Mapping if kind is dict else kind)


_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}


def _spell(hint: Any) -> str:
    origin = get_origin(hint)
    if origin is Literal:
        return " or ".join(str(option) for option in get_args(hint))
    if origin in (Union, types.UnionType):
        return " or ".join(_spell(option) for option in get_args(hint))
    if origin in _LISTS:
        return f"a list, each {_spell(get_args(hint)[0])}"
    return _NAMES.get(hint, "a group of settings" if (origin or hint) is dict else getattr(hint, "__name__", str(hint)))
