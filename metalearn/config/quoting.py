"""Quote values for Hydra's grammar, such as paths with brackets or accents, and words for the shell."""

import os
import re
import shlex
from pathlib import Path

from metalearn.config.sweep_words import misread, parsed
from metalearn.runtime.errors import UserError


def quoted_words(words: list[str]) -> list[str]:
    """Quote each value that Hydra's grammar rejects and that is not meant as a list, a mapping or a quoted text.

    `data.root=~/naïve [1]` becomes a quoted path below the home folder. In a sweep, a value with commas stays as it is.

    Raises:
        UserError: a value such as `interval(0.01 2)`, which is meant as several values but has a mistake.
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
    elif parsed(word) is not None:
        return word
    mended = f"{name}={hydra_quoted(value)}"
    return mended if parsed(mended) is not None else word


def hydra_quoted(text: str, quote: str = "'") -> str:
    """Write a text as a value in Hydra's grammar, where a backslash before a quote or at the end is doubled."""
    inside = re.sub(rf"(\\*)({quote}|\Z)", lambda end: end[1] * 2 + (end[2] and "\\" + end[2]), text)
    return f"{quote}{inside}{quote}"


def assignment(name: str, value: str | Path) -> str:
    """Write `name=value` as a word to be typed: quoted for the shell and in Hydra's grammar, where that is needed."""
    word = f"{name}={value}"
    plain = re.fullmatch(r"[\w/.+%@-]+", str(value), re.ASCII) and (read := parsed(word)) and read.value() == str(value)
    return word if plain else shell_quoted(f"{name}={hydra_quoted(str(value), chr(34))}")


def shell_quoted(text: str | Path) -> str:
    """Quote a word for the shell, so that people can read it."""
    text = str(text)
    if "'" in text and not re.search(r"[$`\\!\n]", text):  # shlex would write each ' as '"'"'
        return '"' + text.replace('"', '\\"') + '"'
    return shlex.quote(text)
