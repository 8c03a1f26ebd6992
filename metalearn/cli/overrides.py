"""Words of the command line: rewritten where a run is resumed."""

import os
import sys
from pathlib import Path
from typing import NoReturn

from metalearn.config import trust
from metalearn.config.compose import CONF, plain
from metalearn.config.quoting import hydra_quoted
from metalearn.errors import UserError


def options_first(words: list[str]) -> list[str]:
    """The words of the command line with options such as `--config-dir DIR` before the settings, as Hydra needs them.

    Raises:
        UserError: an option that does not exist, or lacks its value.
    """
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}; --help explains settings and options")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    found, unknown = parser.parse_known_intermixed_args(words)
    if unknown:
        raise UserError(f"{unknown[0]}: no such option; write settings as key=value; --help explains them")
    return [*(word for word in words if word not in found.overrides), *found.overrides]


def resumed_words(words: list[str]) -> list[str]:
    """The words of the command line, and where a run is resumed, those with which it was begun and its folder."""
    for word in words:
        if sets(word, "resume", "hydra.run.dir", "hydra.sweep.dir") and not word.partition("=")[2].strip("'\" "):
            what = "resume=RUN_DIR, or resume=auto" if sets(word, "resume") else "name a folder for the record"
            raise UserError(f"{word}: is empty: {what}")
    asked = [word for word in words if sets(word, "resume")]
    value = value_of(asked[-1]) if asked else ""
    if value in ("", "null") or {"--help", "-h"} & set(words):
        return words
    from hydra._internal.utils import get_args_parser

    from metalearn.lifecycle.manifest import FILE, read_manifest

    options = get_args_parser().parse_known_args(words)[0]
    settings = [word for word in options.overrides if word not in asked]
    flags = [word for word in words if word not in options.overrides]
    placed = any(sets(word, "hydra.run.dir") for word in settings)
    if options.multirun:
        if value != "auto":
            raise UserError(f"resume={value}: is for one run; for a sweep: hydra.sweep.dir={value} resume=auto")
        if not any(sets(word, "hydra.sweep.dir") for word in settings):
            raise UserError("resume=auto: which sweep? Say hydra.sweep.dir=DIR")
        return words
    if value != "auto":
        if placed:
            raise UserError(f"resume={value}: resumes in that folder; leave hydra.run.dir= out")
        begun = read_manifest(Path(value))
        if begun is None:
            raise UserError(f"resume={value}: no run was begun there (it has no {FILE})")
        if begun.overrides is None and settings:
            raise UserError(f"resume={value}: was begun from Python, and can be changed only there")
        again = {word.partition("=")[0] for word in settings}  # what was added before cannot be added once more
        before = [word for word in begun.overrides or () if word.partition("=")[0] not in again]
        if not trusted(words):
            trust.permit_words(before, Path(value) / FILE)
        place = hydra_quoted(value)
        return [*flags, *before, *settings, f"resume={place}", f"hydra.run.dir={place}"]
    if placed:
        return words  # it is known where
    if options.config_dir:
        settings.append(f"hydra.searchpath=[{hydra_quoted('file://' + os.path.abspath(options.config_dir))}]")
    found = _unfinished(settings)
    return words if found is None else [*flags, *options.overrides, f"hydra.run.dir={hydra_quoted(str(found))}"]


def resumes_folder(words: list[str]) -> bool:
    """True for `resume=DIR`: the configuration is read from that folder."""
    asked = [value_of(word) for word in words if sets(word, "resume")]
    return bool(asked) and asked[-1] not in ("", "null", "auto")


def trusted(words: list[str]) -> bool:
    """True if the user types `trust=true`."""
    return [value_of(word).lower() for word in words if sets(word, "trust")][-1:] == ["true"]


def value_of(word: str) -> str:
    """What a word sets, without the quotes of Hydra's grammar."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    try:
        value = OverridesParser.create().parse_overrides([word])[0].value()
        return "" if value is None else str(value)
    except OverrideParseException:  # an unquoted path with special characters
        return word.partition("=")[2]


def _unfinished(words: list[str]) -> Path | None:
    """The unfinished run that these words began."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from metalearn.lifecycle import run_folder

    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=words, return_hydra_config=True)
    pattern = OmegaConf.to_container(config.hydra.run, resolve=False)
    OmegaConf.set_struct(config, False)
    config.pop("hydra")
    assert isinstance(pattern, dict)
    return run_folder.unfinished(str(pattern["dir"]), plain(config))


def sweep_command() -> str:
    """The command line that resumes the sweep."""
    import shlex

    from hydra.core.hydra_config import HydraConfig

    from metalearn.lifecycle import resume_command

    words = [word for word in sys.argv[1:] if not sets(word, "resume", "hydra.sweep.dir")]
    place = resume_command.quoted(Path(HydraConfig.get().sweep.dir))
    return f"{resume_command.program()} {shlex.join(words)} hydra.sweep.dir={place} resume=auto"


def sets(word: str, *names: str) -> bool:
    """Whether a word of the command line sets one of these."""
    return "=" in word and word.partition("=")[0].lstrip("+~") in names
