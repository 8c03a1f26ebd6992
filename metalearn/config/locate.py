"""Import the class or function that a dotted path in the settings names, and read its declaration."""

import importlib
import inspect
from typing import Any, get_type_hints

from metalearn.config import trust
from metalearn.runtime.errors import UserError, described, is_library, place_in_own_code

_PAGES = {"Algorithm": "an-algorithm", "Module": "a-model", "Dataset": "a-data-set",
          "Control": "a-control", "Optimizer": "an-inner-optimizer"}  # fmt: skip


def locate(target: str, where: str, kind: type | None) -> Any:
    """Import the class or function that a dotted path names.

    Args:
        target: the path, such as `metalearn.models.conv4.Conv4`.
        where: the setting that names it, for messages (`algo._target_`, ...).
        kind: the class of the objects that it must make: it is a subclass, or a function annotated to return one.
            None: any callable.

    Raises:
        UserError: it is not trusted (see metalearn.config.trust; nothing is imported then), cannot be imported, or
            makes something else (it is not called then).
    """
    trust.permit(target, where, made=kind is not None)
    module, _, name = target.rpartition(".")
    if not module or not name:
        raise UserError(
            f"{where}={target}: name a class or a function by its path, such as {target.strip('.') or 'mypackage'}.Name"
        )
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:
        why = str(error) if place_in_own_code(error) is None else described(error)
        raise UserError(f"{where}={target}: cannot be imported ({why}){_place_hint(error, module)}") from error
    if not callable(found):
        raise UserError(f"{where}={target}: is not a class or a function")
    if kind is not None and not _makes(found, kind):
        how = "" if inspect.isclass(found) else _annotate(target, found, kind)
        raise UserError(f"{where}={target}: does not make a {path(kind)}{how}{page(kind)}")
    return found


def _annotate(target: str, found: Any, kind: type) -> str:
    """Say how to declare what a function returns, as a part of a message; a library's function has to be wrapped."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(found))
    except TypeError:  # it is not written in Python
        return ""
    if file and is_library(file):
        return f"; if it does, write a function: def make(...) -> {path(kind)}: return {target}(...)"
    return f"; annotate what the function returns: -> {path(kind)}"


def path(kind: type) -> str:
    """Return the dotted path by which a class is imported."""
    module = "torch.nn" if kind.__module__.startswith("torch.nn.") else kind.__module__
    return f"{module}.{kind.__name__}"


def _place_hint(error: Exception, module: str) -> str:
    """Say where Python looks for a module of the user's, if that module was not found."""
    root = module.partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or error.name != root:
        return ""
    return f"; work in the folder of {root}, or add that folder to PYTHONPATH (in Python: to sys.path)"


def page(kind: type) -> str:
    """The page of the documentation that shows how to write such a class, as the end of a message."""
    anchor = _PAGES.get(kind.__name__)
    return f"; see docs/extending.md#{anchor}" if anchor else ""


def _makes(found: Any, kind: type) -> bool:
    """True if calling `found` gives an object of this class, as far as its declaration says."""
    made = returned(found)
    return inspect.isclass(made) and issubclass(made, kind)


def returned(found: Any) -> Any:
    """Return the class itself, or what a function is annotated to return; None where it says nothing."""
    if inspect.isclass(found):
        return found
    try:
        return get_type_hints(found).get("return")
    except (TypeError, ValueError, NameError, AttributeError):
        return None


def accepted(found: Any) -> list[str]:
    """List the arguments of a class or a function by name, with those that it passes on to a constructor."""
    made = returned(found)
    bases = made.__mro__ if inspect.isclass(made) else ()
    makers = [] if found is made else [found]
    makers += [vars(base)["__init__"] for base in bases if "__init__" in vars(base)]
    names: dict[str, None] = {}
    for maker in makers:
        try:
            parameters = inspect.signature(maker).parameters.values()
        except (TypeError, ValueError):
            break
        names |= {p.name: None for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return [name for name in names if name != "self"]
