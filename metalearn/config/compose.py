"""Hydra's configuration, composed to plain values."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from metalearn.config.groups import CONF, check_selected
from metalearn.config.messages import one_line
from metalearn.config.quoting import hydra_quoted, quoted_words
from metalearn.runtime.errors import UserError
from metalearn.runtime.files import as_path


def compose(*overrides: str, config_dir: str | Path | None = None) -> dict[str, Any]:
    """Compose `conf/config.yaml` with overrides as on the command line.

    Args:
        overrides: such as `"algo=anil"`, `"way=20"`.
        config_dir: a folder with configurations of your own, as with `--config-dir`.

    Returns:
        The whole configuration as nested dicts, lists and plain values, with every reference resolved.

    Raises:
        UserError: no such choice or setting, or a value that cannot be read; in the words of the command line.
    """
    for word in overrides:
        if not isinstance(word, str):
            raise UserError(f"compose({word!r}): give each setting as text, such as compose('algo=anil', 'way=20')")
        if word.startswith("-"):
            raise UserError(f"compose({word!r}): give settings alone; a folder of your own is config_dir='DIR'")
    words, own = quoted_words(list(overrides)), []
    if config_dir is not None:
        if not (folder := as_path(config_dir, "config_dir").expanduser().absolute()).is_dir():
            raise UserError(f"config_dir={config_dir}: no such folder")
        own = [f"--config-dir={folder}"]
        words.append(f"hydra.searchpath=[{hydra_quoted(f'file://{folder}')}]")
    check_selected([*words, *own])
    with _in_one_line():
        return plain(_composed(words))


def choice(group: str, name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Compose `conf/config.yaml` with one choice of a group, and replace some of its values.

    Args:
        group: such as `data`.
        name: of a file in the group's folder.
        settings: values by name; dotted names are not divided.

    Returns:
        That group as plain values, and the top-level settings that are not groups.

    Raises:
        UserError: no such choice, or a value is missing.
    """
    from omegaconf import OmegaConf

    with _in_one_line():
        config = _composed([f"{group}={name}"])
        OmegaConf.set_struct(config, False)
        for key, value in settings.items():
            config[group][key] = value
        top = [str(key) for key, value in config.items_ex(resolve=False) if not OmegaConf.is_config(value)]
        own = {key: config[key] for key in top if not OmegaConf.is_missing(config, key)}
        return own | {group: plain(config[group])}


def plain(config: Any) -> dict[str, Any]:
    """Resolve a composed configuration to plain values.

    Raises:
        OmegaConfBaseException: a mandatory value is missing, or a reference cannot be resolved.
    """
    from omegaconf import OmegaConf

    values = OmegaConf.to_container(OmegaConf.create(config), resolve=True, throw_on_missing=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _composed(words: list[str]) -> Any:
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=words)


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Turn Hydra's errors into a UserError of one line."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        yield
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError, KeyError) as error:
        raise UserError(one_line(error)) from error
