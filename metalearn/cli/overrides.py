"""Rewrite the command line for `resume=`, and read single settings on it."""

import os
from pathlib import Path

from metalearn.cli.hydra_args import parsed
from metalearn.config import trust
from metalearn.config.compose import plain
from metalearn.config.groups import CONF, missing
from metalearn.config.quoting import assignment, hydra_quoted, shell_quoted
from metalearn.runtime.console import say
from metalearn.runtime.errors import UserError


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
        place = hydra_quoted(value)
        return [*flags, *_words_of_run(value, flags, settings), f"resume={place}", f"hydra.run.dir={place}"]
    if placed:
        return words  # it is known where
    if options.config_dir:
        settings.append(f"hydra.searchpath=[{hydra_quoted('file://' + os.path.abspath(options.config_dir))}]")
    found = _unfinished(settings)
    return words if found is None else [*flags, *options.overrides, f"hydra.run.dir={hydra_quoted(str(found))}"]


def _words_of_run(value: str, flags: list[str], settings: list[str]) -> list[str]:
    """Return the settings of a run to resume: those it was started with, then those typed now, which replace them.

    If the run needs files of the user's that are not here, and only settings of resuming are typed, only those are
    returned; the run then uses its recorded configuration (metalearn.lifecycle.launch).

    Args:
        value: of `resume=`, the folder.
        flags: the options typed, with their values.
        settings: the settings typed, without `resume`.
    """
    from metalearn.lifecycle.manifest import FILE, RESUME_ONLY, read_manifest

    started = read_manifest(Path(value))
    changes = [word for word in settings if not sets(word, *RESUME_ONLY)]
    if not Path(value).exists():
        raise UserError(f"resume={value}: no such run")
    if started is None:
        raise UserError(f"resume={value}: no run was started there (it has no {FILE})")
    if started.overrides is None and changes:
        raise UserError(f"resume={value}: was started from Python, and can be changed only there")
    again = {word.partition("=")[0] for word in settings}  # what was added before cannot be added once more
    before = [word for word in started.overrides or () if word.partition("=")[0] not in again]
    if not trusted(settings):
        trust.permit_words(before, Path(value) / FILE)
    if absent := missing([*flags, *before]):
        if changes:
            raise UserError(
                f"resume={value}: started with {absent}, whose file is not here and is needed to change a "
                f"setting ({changes[0]}): add --config-dir with its folder"
            )
        return settings
    return [*before, *settings]


def about_changed_choice(words: list[str], error: str) -> str:
    """Explain an error in a group of settings for which another choice was typed than the run was started with.

    Args:
        words: the command line as typed.
        error: a message that begins with the name of a setting.
    """
    group = error.partition(".")[0]
    if not resumes_folder(words) or not (chosen := [word for word in words if sets(word, group)]):
        return ""
    folder = next(value_of(word) for word in words if sets(word, "resume"))
    new = f"{shell_quoted(chosen[-1])} {assignment('init', folder)}"
    return f"; the run was started with settings of another choice: for a new run with its weights, {new}"


def check_search(words: list[str]) -> None:
    """Raise UserError for a search without -m, and for a sweep over searches, in which Hydra would start none."""
    options = parsed(words)
    for word in options.overrides:
        if sets(word, "search") and "," in word:
            raise UserError(f"{word}: one search at a time")
        if sets(word, "search") and value_of(word) not in ("", "null") and not (options.multirun or options.cfg):
            raise UserError(f"{word}: a search is many runs: add -m")


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
    search = run_folder.unfinished(str(pattern["dir"]), plain(config))
    if near := search.nearest:
        if search.changed:
            say(
                f"resume=auto: no unfinished run of this configuration, so a new one begins; nearest: {near}, where "
                f"{run_folder.some(search.changed)}; to resume that one: {assignment('resume', near)}"
            )
        else:
            say(f"resume=auto: another process works on {near}, so a new run begins")
    return search.found


def sets(word: str, *names: str) -> bool:
    """True if a word of the command line sets one of these settings."""
    return "=" in word and word.partition("=")[0].lstrip("+~") in names
