"""Rewrite the command line for `resume=`, and read single settings on it."""

import os
from pathlib import Path

from metalearn.cli.hydra_args import parsed
from metalearn.config import trust
from metalearn.config.compose import plain
from metalearn.config.groups import CONF
from metalearn.config.quoting import hydra_quoted
from metalearn.errors import UserError


def resumed_words(words: list[str]) -> list[str]:
    """Return the command line; for `resume=`, with the overrides that the run was started with, and its folder.

    Raises:
        UserError: nothing to resume there, or settings that do not go together.
    """
    for word in words:
        if sets(word, "resume", "hydra.run.dir", "hydra.sweep.dir") and not word.partition("=")[2].strip("'\" "):
            what = "resume=RUN_DIR, or resume=auto" if sets(word, "resume") else "name a folder for the record"
            raise UserError(f"{word}: is empty: {what}")
    asked = [word for word in words if sets(word, "resume")]
    value = value_of(asked[-1]) if asked else ""
    if value in ("", "null") or {"--help", "-h"} & set(words):
        return words
    from metalearn.lifecycle.manifest import FILE, read_manifest

    options = parsed(words)
    settings = [word for word in options.overrides if word not in asked]
    flags = [word for word in words if word not in options.overrides]
    placed = any(sets(word, "hydra.run.dir") for word in settings)
    if options.multirun:
        if value != "auto":
            raise UserError(f"resume={value}: is for one run; for a sweep: hydra.sweep.dir={value} resume=auto")
        if not any(sets(word, "hydra.sweep.dir", "search") for word in settings):
            raise UserError("resume=auto: which sweep? Say hydra.sweep.dir=DIR")
        return words
    if value != "auto":
        if placed:
            raise UserError(f"resume={value}: resumes in that folder; leave hydra.run.dir= out")
        started = read_manifest(Path(value))
        if started is None:
            raise UserError(f"resume={value}: no run was started there (it has no {FILE})")
        if started.overrides is None and settings:
            raise UserError(f"resume={value}: was started from Python, and can be changed only there")
        again = {word.partition("=")[0] for word in settings}  # what was added before cannot be added once more
        before = [word for word in started.overrides or () if word.partition("=")[0] not in again]
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
    """Return the value of an override, without the quotes of Hydra's grammar."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    try:
        value = OverridesParser.create().parse_overrides([word])[0].value()
        return "" if value is None else str(value)
    except OverrideParseException:  # an unquoted path with special characters
        return word.partition("=")[2]


def _unfinished(words: list[str]) -> Path | None:
    """Find the unfinished run that was started with these overrides."""
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


def sets(word: str, *names: str) -> bool:
    """True if a word of the command line sets one of these settings."""
    return "=" in word and word.partition("=")[0].lstrip("+~") in names
