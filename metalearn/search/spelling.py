"""Values of hyperparameters as words of the command line, and back."""

from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from metalearn.config.quoting import hydra_quoted
from metalearn.config.sweep_words import misread
from metalearn.runtime.errors import UserError


def read(word: str) -> Override:
    """Parse a word of the command line.

    Raises:
        UserError: Hydra cannot read it.
    """
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException as error:
        raise UserError(misread(word) or f"{word}: {' '.join(str(error).split())}") from error


def spell(value: Any) -> str:
    """Write a value as on the command line. A text that begins with a bracket is a list or a mapping."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, str):
        return repr(value)
    if value.startswith(("[", "{")):
        return value
    try:
        same = read(f"x={value}").value() == value
    except UserError:
        same = False
    return value if same else hydra_quoted(value)
