"""Hydra's own options on the command line. Its parser is private, and this is the only file that uses it."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import NoReturn

from metalearn.runtime.errors import UserError


def parsed(words: Sequence[str]) -> Namespace:
    """Parse a command line as Hydra does.

    Returns:
        A namespace with `overrides`, the settings, and an entry for each option, such as `config_dir`, `multirun`.
    """
    options: Namespace = _parser().parse_known_args(list(words))[0]
    return options


def options_first(words: Sequence[str]) -> list[str]:
    """Move options such as `--config-dir DIR` before the settings, where Hydra needs them.

    Raises:
        UserError: an option that does not exist, or lacks its value.
    """

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}; --help explains settings and options")

    parser = _parser()
    parser.error = refuse  # type: ignore[method-assign]
    found, unknown = parser.parse_known_intermixed_args(list(words))
    if unknown:
        raise UserError(f"{unknown[0]}: no such option; write settings as key=value; --help explains them")
    return [*(word for word in words if word not in found.overrides), *found.overrides]


def _parser() -> ArgumentParser:
    from hydra._internal.utils import get_args_parser

    parser: ArgumentParser = get_args_parser()
    return parser
