"""Configurations of trials, composed from parts that are kept.

Hydra needs a quarter of a second for a configuration, and the trials of a search differ in few values. The groups and
all else that only Hydra understands are composed once; plain values are then set as Hydra sets them.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.override_parser.types import Override, QuotedString
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from metalearn.config.compose import plain
from metalearn.config.groups import is_group
from metalearn.search.spelling import read

_KEPT = 8  # configurations without plain values


class Composer:
    """Compose the configurations of words of the command line.

    Args:
        load: composes words by Hydra, without resolving references.
    """

    def __init__(self, load: Callable[[Sequence[str]], DictConfig]):
        self._load = load
        self._bases: dict[tuple[str, ...], DictConfig] = {}

    def __call__(self, words: Sequence[str]) -> dict[str, Any]:
        """Return the configuration as plain values.

        Raises:
            HydraException: Hydra cannot compose it.
        """
        overrides = [(word, read(word)) for word in words]
        changes = [override for _, override in overrides if _is_value(override)]
        rest = tuple(word for word, override in overrides if not _is_value(override))
        others = [override.key_or_group for _, override in overrides
                  if not _is_value(override) and not _names_group(override)]  # fmt: skip
        if any(_overlap(override.key_or_group, other) for override in changes for other in others):
            return plain(self._load(words))  # their order may matter; groups come first in any order
        config = copy.deepcopy(self._base(rest))
        try:
            for override in changes:
                OmegaConf.update(config, override.key_or_group, _value(override), merge=True)
        except OmegaConfBaseException:  # no such setting: Hydra raises an error that explains it
            return plain(self._load(words))
        return plain(config)

    def _base(self, words: tuple[str, ...]) -> DictConfig:
        if words not in self._bases:
            if len(self._bases) >= _KEPT:
                del self._bases[next(iter(self._bases))]
            self._bases[words] = self._load(words)
            OmegaConf.set_struct(self._bases[words], True)  # refuses a setting that does not exist
        return self._bases[words]


def _is_value(override: Override) -> bool:
    """True for a word that sets an existing setting to a plain value."""
    changed = not (override.is_add() or override.is_force_add() or override.is_delete() or _names_group(override))
    plain_value = isinstance(override.value(), (str, int, float, bool, type(None), QuotedString))
    return changed and override.package is None and plain_value


def _names_group(override: Override) -> bool:
    return is_group(override.key_or_group.replace(".", "/"))


def _value(override: Override) -> Any:
    value = override.value()
    return value.text if isinstance(value, QuotedString) else value


def _overlap(one: str, other: str) -> bool:
    """True if one setting is the other, or a part of it."""
    one, other = one.replace("/", "."), other.replace("/", ".")
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")
