"""Trust in what files say: a run folder or a checkpoint may come from a stranger.

A configuration names classes and functions by dotted paths, and importing or calling one runs its code. Everything that
the user types or writes in Python is trusted. Everything that is read from a run folder or a checkpoint is not: inside
`limit`, metalearn.config.locate.locate imports only what `permit` accepts. `trust=true` lifts the limit.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from metalearn.runtime.errors import UserError

HOW = "if you trust where it comes from, add trust=true (in Python: trust=True)"
_SAFE = re.compile(r"metalearn(\.\w+)+|torch\.nn\.\w+|torchvision\.models\.(?!get_)\w+")
_PATH = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")
_WORD = re.compile(r"(?:\+\+?|~)?\w[\w-]*(?:[./]\w[\w-]*)*(?:=.*)?", re.DOTALL)

_named: ContextVar[frozenset[str] | None] = ContextVar("named", default=None)  # None: no limit
_foreign: ContextVar[set[str] | None] = ContextVar("foreign", default=None)


@contextmanager
def limit(words: Iterable[str] = (), trusted: bool = False) -> Iterator[None]:
    """Import only what is safe while a configuration from a file is in use.

    Args:
        words: the command line as typed now. Dotted paths in it, and in the YAML files below its `--config-dir`, are
            the user's own and stay accepted.
        trusted: lift the limit: the user passed trust=true.
    """
    token = _named.set(None if trusted else frozenset(_paths(list(words))))
    try:
        yield
    finally:
        _named.reset(token)


@contextmanager
def observed() -> Iterator[None]:
    """Collect which targets a resumed run would refuse without trust=true; see `needed`."""
    token = _foreign.set(set())
    try:
        yield
    finally:
        _foreign.reset(token)


def limited() -> bool:
    """True where the configuration in use comes from a file that is not trusted."""
    return _named.get() is not None


def permit(target: str, where: str, made: bool) -> None:
    """Refuse a target before anything is imported.

    Args:
        target: a dotted path.
        where: the setting that names it, for the message.
        made: the caller verifies that the target makes an object of a certain class. Functions to call, such as those
            of the control Callback, have no such check; without trust none is accepted.

    Raises:
        UserError: the path is neither safe nor named by the user.
    """
    safe = made and _SAFE.fullmatch(target) is not None
    seen = _foreign.get()
    if seen is not None and not safe:
        seen.add(target)
    named = _named.get()
    if named is not None and not safe and target not in named:
        raise UserError(f"{where}={target}: comes from a file and may run any code; {HOW}")


def permit_values(target: str, values: Mapping[str, Any], where: str) -> None:
    """Refuse pretrained weights of a torchvision model, which are a download, unless the user named the model."""
    named = _named.get()
    asked = [name for name in values if name.startswith(("weights", "pretrained"))]
    if named is not None and target not in named and target.startswith("torchvision.") and asked:
        raise UserError(f"{where}.{asked[0]}: comes from a file and would download weights; {HOW}")


def permit_words(words: Iterable[Any], file: Path) -> None:
    """Refuse words of the command line, read from a file, that reach beyond metalearn's own settings.

    Hydra itself starts what `hydra.*` names (launchers, callbacks, loggers), reads configurations from other folders
    (`model=../../evil`, `hydra.searchpath`), and resolves `${oc.env:NAME}`.

    Raises:
        UserError: the first such word.
    """
    for word in words:
        if not safe_word(word):
            raise UserError(f"{file}: {str(word)[:80]}: is not taken over from a file; type it, or {HOW}")


def safe_word(word: Any) -> bool:
    """True for a word `name=value` of metalearn's own settings, without references to the environment."""
    if not isinstance(word, str) or not _WORD.fullmatch(word):
        return False
    name, _, value = word.lstrip("+~").partition("=")
    root = re.split(r"[./]", name)[0]
    if root in ("hydra", "trust"):
        return False
    if "." not in name and (".." in value or "${" in value):  # the choice of a group: a path of a file
        return False
    return "${" not in re.sub(r"\$\{[\w.]+\}", "", value)


def needed(words: Iterable[str] | None = (), typed: Iterable[str] = ()) -> bool:
    """True where a run can be resumed only with trust=true: it uses code or words that a file may not name.

    Args:
        words: the settings that the run was started with.
        typed: the command line that resumes it; what this names is accepted.
    """
    foreign = (_foreign.get() or set()) - {*_paths(list(typed))}
    return bool(foreign) or not all(safe_word(word) for word in words or ())


def _paths(words: list[str]) -> Iterator[str]:
    """Dotted paths in what the user types, and in the configuration files that the user points to."""
    for word, following in zip(words, [*words[1:], ""], strict=False):
        yield from _PATH.findall(word)
        if word in ("--config-dir", "-cd") or word.startswith("--config-dir="):
            folder = Path(word.partition("=")[2] or following)
            for file in folder.rglob("*.yaml"):
                yield from _PATH.findall(file.read_text(errors="replace"))
