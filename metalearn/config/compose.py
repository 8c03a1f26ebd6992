"""Hydra's configuration, composed to plain values."""

import re
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parent.parent
CONF = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())  # wheel, clone


def compose(*overrides: str) -> dict[str, Any]:
    """Compose `conf/config.yaml` with overrides as on the command line.

    Args:
        overrides: such as `"algo=anil"`, `"way=20"`.

    Returns:
        The whole configuration as nested dicts, lists and plain values, with every reference resolved.
    """
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose("config", overrides=list(overrides)))


def choices(group: str) -> list[str]:
    """List the choices of a group by name, such as `omniglot/maml_5w1s` of `experiment`.

    A file whose name begins with an underscore is a part of other files, and no choice.
    """
    files = [file.relative_to(CONF / group).with_suffix("") for file in (CONF / group).rglob("*.yaml")]
    return sorted(file.as_posix() for file in files if not file.name.startswith("_"))


def is_group(name: str) -> bool:
    """True if a name is a group of conf/, such as `model` or `search/space`."""
    return bool(name) and (CONF / name).is_dir()


def package(text: str, group: str) -> str:
    """Find the prefix of the settings in a file: `algo.`, or what its line `# @package` says.

    Args:
        text: the content of the file.
        group: the folder of the file below conf/; `.` for conf/config.yaml.
    """
    header = re.search(r"^# @package (\S+)", text, re.MULTILINE)
    name = header[1] if header else group
    return "" if name in ("_global_", ".") else f"{name}."


def choice(group: str, name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Compose `conf/config.yaml` with one choice of a group, and replace some of its values.

    Args:
        group: such as `data`.
        name: of a file in the group's folder.
        settings: values by name; dotted names are not divided.

    Returns:
        That group as plain values, and the top-level settings that are not groups.
    """
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=[f"{group}={name}"])
    OmegaConf.set_struct(config, False)
    for key, value in settings.items():
        config[group][key] = value
    top = [str(key) for key, value in config.items_ex(resolve=False) if not OmegaConf.is_config(value)]
    return {key: config[key] for key in top if not OmegaConf.is_missing(config, key)} | {group: plain(config[group])}


def plain(config: Any) -> dict[str, Any]:
    """Resolve a composed configuration to plain values.

    Raises:
        OmegaConfBaseException: a mandatory value is missing, or a reference cannot be resolved.
    """
    from omegaconf import OmegaConf

    values = OmegaConf.to_container(OmegaConf.create(config), resolve=True, throw_on_missing=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
