"""Quote values of the command line that Hydra's grammar cannot read, such as paths with brackets or accents."""

import os
import shlex
from pathlib import Path

from metalearn.config.sweep_words import misread
from metalearn.errors import UserError


def quoted_words(words: list[str]) -> list[str]:
    """Quote each value that Hydra's grammar rejects and that is not meant as a list, a mapping or a quoted text.

    `data.root=~/naïve [1]` becomes a quoted path below the home folder. In a sweep, a value with commas stays as it is.

    Raises:
        UserError: a value such as `interval(0.01 2)`, which is meant as several values and cannot be read so.
    """
    for word in words:
        if not word.startswith("-") and "=" in word and (mistake := misread(word)):
            raise UserError(mistake)
    sweep = bool({"-m", "--multirun"} & set(words))
    return [_quoted(word, sweep) for word in words]


def _quoted(word: str, sweep: bool) -> str:
    name, equal, value = word.partition("=")
    if not equal or word.startswith("-") or value[:1] in ("", "[", "{", "'", '"') or (sweep and "," in value):
        return word
    if value.startswith("~/"):
        value = os.path.expanduser(value)
    elif _readable(word):
        return word
    mended = f"{name}={hydra_quoted(value)}"
    return mended if _readable(mended) else word


def _readable(word: str) -> bool:
    """True if Hydra's grammar accepts the word."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_override(word)
        return True
    except HydraException:
        return False


def hydra_quoted(text: str) -> str:
    """A text as a value in Hydra's grammar."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def shell_quoted(path: Path) -> str:
    """Quote a path as a value on the command line, for Hydra's grammar and for the shell."""
    text = str(path)
    plain = all(c.isalnum() or c in "/._-+%@" for c in text)
    return shlex.quote(text if plain else hydra_quoted(text))
