"""The groups of conf/ and their choices: the folders there and the files in them."""

import re
from pathlib import Path

from metalearn.config.similar import did_you_mean
from metalearn.runtime.errors import UserError

_PACKAGE = Path(__file__).resolve().parent.parent
CONF = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())  # wheel, clone
NO_GROUPS = ("hydra", "wandb")  # folders of conf/ without choices: Hydra's own settings, sweeps of W&B
NESTED = ("search/space",)  # groups in the folder of another group
SELECTED = ("budget", "task", "data_algo")  # groups that others select by name; see conf/config.yaml


def groups() -> list[str]:
    """List the groups that have choices."""
    folders = [folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name not in NO_GROUPS]
    return sorted([*folders, *NESTED])


def choices(group: str) -> list[str]:
    """List the choices of a group by name, such as `omniglot/maml_5w1s` of `experiment`.

    A file whose name begins with an underscore is a part of other files, and no choice.
    """
    files = [file.relative_to(CONF).with_suffix("") for file in (CONF / group).rglob("*.yaml")]
    nested = [name for name in NESTED if name != group]
    return sorted(file.relative_to(group).as_posix() for file in files
                  if not file.name.startswith("_") and file.parent.as_posix() not in nested)  # fmt: skip


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
    name = header[1] if header else group.replace("/", ".")
    return "" if name in ("_global_", ".") else f"{name}."


def is_global(text: str) -> bool:
    """True if the settings in a file have their full names."""
    return re.search(r"^# @package _global_", text, re.MULTILINE) is not None


def own_folders(words: list[str]) -> list[Path]:
    """List the folders that the user gives with --config-dir."""
    pairs = zip(words, [*words[1:], ""], strict=True)
    return [Path(word.partition("=")[2] or following) for word, following in pairs if word.startswith("--config-dir")]


def asked(words: list[str]) -> list[tuple[str, Path]]:
    """List the choices that words of the command line name, as pairs of group and file.

    A folder given by --config-dir is looked through first.

    Raises:
        UserError: a group has no such choice.
    """
    found = []
    folders = [*own_folders(words), CONF]
    for word in words:
        group, equal, value = word.partition("=")
        if not equal or group not in groups():
            continue
        for choice in value.strip("[]'\"").split(","):
            file = next((path for folder in folders if (path := folder / group / f"{choice}.yaml").is_file()), None)
            if file is None:
                known = choices(group)
                guess = did_you_mean(choice, known)
                raise UserError(f"{group}={choice}: no such choice{guess}; there are {', '.join(known)}")
            found.append((group, file))
    return found


def check_selected(words: list[str]) -> None:
    """Check the choices of optional groups. Hydra itself ignores an unknown name there.

    Raises:
        UserError: a group has no such choice.
    """
    for word in words:
        group, equal, value = word.partition("=")
        if equal and group in SELECTED and value != "null":
            asked([word, *_options(words)])


def missing(words: list[str]) -> str | None:
    """Return the first word that names a choice without a file, here or below the --config-dir of the words."""
    for word in words:
        try:
            asked([word, *_options(words)] if word.partition("=")[2] != "null" else [])
        except UserError:
            return word
    return None


def _options(words: list[str]) -> list[str]:
    """The words that are options, or their values."""
    return [word for word in words if "=" not in word or word.startswith("--config-dir")]
