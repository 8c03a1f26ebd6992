"""The name of the folder of a new run: what is learned, on which data, with which seed."""

from typing import Any

from metalearn.config.groups import CONF

_PLAIN = ("load", "make", "build", "create")  # functions whose module says more than their own name


def run_name(config: Any) -> str:
    """Name a run by its algorithm, data and seed, and by its model where that is the user's own.

    A class that the user puts in the place of the chosen one, by `algo._target_=`, is named by its own name.

    Args:
        config: composed by Hydra, with its node `hydra`.
    """
    names = [_named(config, group) for group in ("algo", "data", "model")]
    (algo, _), (data, _), (model, is_own) = names
    return "_".join([algo, data, *([model] if is_own else []), f"seed{config.get('seed')}"])


def _named(config: Any, group: str) -> tuple[str, bool]:
    """The name of what is chosen in a group, and True if it is not one of the package's."""
    from omegaconf import OmegaConf

    choice = str(config.hydra.runtime.choices.get(group))
    target = OmegaConf.select(config, f"{group}._target_")
    file = CONF / group / f"{choice}.yaml"
    if not file.is_file() or target is None:
        return choice.replace("/", "_"), not file.is_file()
    content = OmegaConf.load(file)
    asks = OmegaConf.is_missing(content, "_target_")  # the user must name it
    if not asks and target == OmegaConf.select(content, "_target_", default=target):
        return choice.replace("/", "_"), False
    module, _, name = str(target).rpartition(".")
    return (module.rpartition(".")[2] if name in _PLAIN else name).lower(), True
