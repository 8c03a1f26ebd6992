"""The command line: `python -m metalearn.run algo=maml`. The only file that composes Hydra's configuration."""

import difflib
import errno
import os
import re
import sys
from pathlib import Path
from typing import Any

from metalearn import parallel
from metalearn.errors import Unfinished, UserError

_HERE = Path(__file__).resolve().parent
CONF = next(folder for folder in (_HERE / "conf", _HERE.parent / "conf") if folder.is_dir())  # in a wheel; in a clone


def main(config: Any = None, folder: str | Path | None = None) -> float:
    """One run; returns the best validation score, the objective of a sweep.

    Args:
        config: a composed configuration; without one, it is composed from the words of the command line.
        folder: of the run; Hydra's, where Hydra runs it, else that of `resume`, else `runs/<time>`.
    """
    import time

    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    words = None
    if config is None:
        words = sys.argv[1:]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("config", overrides=words)
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    if hydra:
        words, folder = list(hydra.overrides.task), folder or hydra.runtime.output_dir
    values = OmegaConf.to_container(OmegaConf.create(config), resolve=True, throw_on_missing=True)
    from metalearn import resume
    from metalearn.experiment import run_experiment  # torch is imported after the configuration has been accepted

    assert isinstance(values, dict)
    going_on = values.get("resume") if values.get("resume") != "auto" else None
    place = Path(folder or going_on or time.strftime("runs/%Y-%m-%d_%H-%M-%S"))
    origin = resume.Origin(
        name=hydra.runtime.choices.get("algo") if hydra else None,
        words=None if words is None else [word for word in words if not _sets(word, *resume.OWN)],
        group=Path(hydra.sweep.dir).name if hydra and _sweeping() else None,
        describe=(lambda: _describe(config, hydra, place)) if hydra else lambda: None,
    )
    begun = resume.noted(place) if going_on else None
    if begun and begun.words is None and not origin.words:  # begun from Python: there were no words to compose it from
        values, origin = (
            begun.config | {name: values[name] for name in resume.OWN},
            origin._replace(name=begun.name, words=None),
        )
    return run_experiment({str(key): value for key, value in values.items()}, place, origin)


def _describe(config: Any, hydra: Any, folder: Path) -> None:
    """Write .hydra/ as Hydra would; by itself it would do so before the run is accepted, over one that is there."""
    from omegaconf import OmegaConf

    place = folder / ".hydra"
    place.mkdir(exist_ok=True)
    OmegaConf.save(config, place / "config.yaml")
    OmegaConf.save(OmegaConf.create({"hydra": hydra}), place / "hydra.yaml")
    OmegaConf.save(hydra.overrides.task, place / "overrides.yaml")


def cli() -> None:
    """As the user types it: a mistake is one line and exit status 2."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a class of one's own is found by the console script too
    if parallel.follows():
        parallel.leave(parallel.follow())
    try:
        try:
            status = _cli()
        finally:
            parallel.dismiss()
    except SystemExit as stopped:  # by a signal
        status = stopped.code if isinstance(stopped.code, int) else 1
    except KeyboardInterrupt:
        _say("interrupted; nothing was being trained")
        parallel.leave(130)  # Python itself may end by the signal, where C code was interrupted
    if parallel.torchrun():
        parallel.leave(status)
    sys.exit(status)


def _cli() -> int:
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on in place of printing its own tracebacks
    started: list[bool] = []
    failed: list[int] = []  # exit statuses

    def job(config: Any) -> float:
        started.append(True)
        try:
            return main(config)
        except (UserError, OmegaConfBaseException, OSError) as error:
            # Other runs of a sweep go on. Were this error to reach Hydra, it would print a second line
            failed.append(1 if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EIO) else 2)
            _say(_plain(error))
            return float("nan")
        except Unfinished as error:  # a sweep stops as well
            _say(f"{error}; the whole sweep: {_sweep_command()}" if _sweeping() else str(error))
            sys.exit(error.status)

    typed = sys.argv[1:]
    try:
        sys.argv[1:] = _going_on(typed)
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()
    except (HydraException, OmegaConfBaseException, OSError, ValueError, KeyError, UserError) as error:
        if started:  # not a matter of the configuration any more, but a defect: show where
            raise
        failed.append(2)
        _say(_plain(error))
    finally:
        sys.argv[1:] = typed
    return max(failed, default=0)


def _going_on(words: list[str]) -> list[str]:
    """The words of the command line, and where a run is resumed, those with which it was begun and its folder."""
    asked = [word for word in words if _sets(word, "resume")]
    value = _value(asked[-1]) if asked else ""
    if value in ("", "null") or {"--help", "-h"} & set(words):
        return words
    from hydra._internal.utils import get_args_parser

    from metalearn import resume

    options = get_args_parser().parse_known_args(words)[0]
    settings = [word for word in options.overrides if word not in asked]
    flags = [word for word in words if word not in options.overrides]
    placed = any(_sets(word, "hydra.run.dir") for word in settings)
    if options.multirun:
        if value != "auto":
            raise UserError(f"resume={value}: is for one run; for a sweep: hydra.sweep.dir={value} resume=auto")
        if not any(_sets(word, "hydra.sweep.dir") for word in settings):
            raise UserError("resume=auto: which sweep? Say hydra.sweep.dir=DIR")
        return words
    if value != "auto":
        if placed:
            raise UserError(f"resume={value}: goes on in that folder; leave hydra.run.dir= out")
        begun = resume.noted(Path(value))
        if begun is None:
            raise UserError(f"resume={value}: no run was begun there (it has no {resume.CONFIG})")
        if begun.words is None and settings:
            raise UserError(f"resume={value}: was begun from Python, and can be changed only there")
        again = {word.partition("=")[0] for word in settings}  # what was added before cannot be added once more
        before = [word for word in begun.words or () if word.partition("=")[0] not in again]
        place = resume.hydra_quoted(value)
        return [*flags, *before, *settings, f"resume={place}", f"hydra.run.dir={place}"]
    if placed:
        return words  # it is known where
    if options.config_dir:
        settings.append(f"hydra.searchpath=[{resume.hydra_quoted('file://' + os.path.abspath(options.config_dir))}]")
    found = _unfinished(settings)
    return words if found is None else [*flags, *options.overrides, f"hydra.run.dir={resume.hydra_quoted(str(found))}"]


def _value(word: str) -> str:
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

    from metalearn import resume

    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=words, return_hydra_config=True)
    pattern = OmegaConf.to_container(config.hydra.run, resolve=False)
    OmegaConf.set_struct(config, False)
    config.pop("hydra")
    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(pattern, dict) and isinstance(values, dict)
    return resume.unfinished(str(pattern["dir"]), {str(key): value for key, value in values.items()})


def _sweeping() -> bool:
    """Whether this run is one of a sweep."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _sweep_command() -> str:
    """What to type to go on with the sweep that runs."""
    import shlex

    from hydra.core.hydra_config import HydraConfig

    from metalearn import resume

    words = [word for word in sys.argv[1:] if not _sets(word, "resume", "hydra.sweep.dir")]
    place = resume.quoted(Path(HydraConfig.get().sweep.dir))
    return f"{resume.program()} {shlex.join(words)} hydra.sweep.dir={place} resume=auto"


def _sets(word: str, *names: str) -> bool:
    """Whether a word of the command line sets one of these."""
    return "=" in word and word.partition("=")[0].lstrip("+~") in names


def _say(message: str) -> None:
    print(f"metalearn: {message}", file=sys.stderr)


def _plain(error: Exception) -> str:
    """An error as one line that says what to do."""
    from hydra.errors import MissingConfigException

    text = str(error)
    if isinstance(error, MissingConfigException):
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        files = (CONF / group).rglob("*.yaml")
        known = error.options or [file.relative_to(CONF / group).with_suffix("").as_posix() for file in files]
        return f"{group}={choice}: no such choice; there are {', '.join(sorted(known))}"
    if key := re.search(r"(?s)Could not override '([^']*)'(?:.*Key '([^']*)' is not in struct)?", text):
        name = f"{key[1]}.{key[2]}" if key[1] and key[2] else key[1] or key[2]
        if name.rpartition(".")[0] in ("algo.inner_optimizer", "outer.optimizer"):
            return f"{name}: not set so far: write +{name}= to hand it to the optimiser"
        return f"{name}: no such setting{_nearest(name)}; --help explains them, --cfg job shows all"
    if "missing EQUAL" in text:
        return f"{text.split(chr(39))[1]}: write settings as key=value; --help explains them"
    if key := re.search(r"node `([^`]*)` is not a container", text):
        return f"{key[1]}: is a group of settings, not a value"
    if text.startswith("Ambiguous value"):
        return f"{text.split(chr(39))[1]}: several values are a sweep: add -m"
    if text.startswith("Missing mandatory value"):
        return f"{getattr(error, 'full_key', None) or text.split()[-1]}: a value is needed, see --help"
    if "Config group override" in text:
        return "algo, data, model, outer, control and tracker need one of their choices, not null: --help lists them"
    if isinstance(error, OSError):
        return f"{error.filename or 'the system'}: {error.strerror or error}"
    return " ".join(text.split("\n")[0].split())


def _nearest(key: str) -> str:
    """The setting that was probably meant."""
    from omegaconf import OmegaConf

    names = ["algo", "data", "model", "outer", "control", "tracker", "experiment"]
    for file in CONF.rglob("*.yaml"):
        group = file.parent.relative_to(CONF).as_posix()
        if group.startswith(("hydra", "experiment")):
            continue
        content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        assert isinstance(content, dict)
        everywhere = group == "." or any(name in content for name in ("algo", "data"))  # a file of package _global_
        names += _paths(content, "" if everywhere else f"{group}.")
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


def _paths(content: dict[Any, Any], prefix: str) -> list[str]:
    """The dotted names of all settings in a configuration file."""
    found = []
    for name, value in content.items():
        if name not in ("defaults", "_target_", "hydra"):
            found.append(f"{prefix}{name}")
            found += _paths(value, f"{prefix}{name}.") if isinstance(value, dict) else []
    return found


if __name__ == "__main__":
    cli()
