"""The command line: `python -m metalearn.run algo=maml`. The only file that composes Hydra's configuration."""

import difflib
import os
import re
import sys
from pathlib import Path
from typing import Any

from metalearn.errors import Interrupted, UserError

_HERE = Path(__file__).resolve().parent
CONF = next(folder for folder in (_HERE / "conf", _HERE.parent / "conf") if folder.is_dir())  # in a wheel; in a clone


def main(config: Any = None, folder: str | Path | None = None) -> float:
    """One run; returns the best validation score, the objective of a sweep.

    Args:
        config: a composed configuration; without one, it is composed from the words of the command line.
        folder: of the run; Hydra's, where Hydra runs it, else `runs/<time>`.
    """
    import time

    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    if config is None:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("config", overrides=sys.argv[1:])
    choice = None
    if HydraConfig.initialized():
        choice = HydraConfig.get().runtime.choices.get("algo")
        folder = folder or HydraConfig.get().runtime.output_dir
    values = OmegaConf.to_container(OmegaConf.create(config), resolve=True, throw_on_missing=True)
    from metalearn.experiment import run_experiment  # torch is imported after the configuration has been accepted

    assert isinstance(values, dict)
    place = Path(folder or time.strftime("runs/%Y-%m-%d_%H-%M-%S"))
    return run_experiment({str(key): value for key, value in values.items()}, place, choice)


def cli() -> None:
    """As the user types it: a mistake is one line and exit status 2."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on in place of printing its own tracebacks
    started, failed = [], []

    def job(config: Any) -> float:
        started.append(True)
        try:
            return main(config)
        except (UserError, OmegaConfBaseException, OSError) as error:
            # Other runs of a sweep go on. Were this error to reach Hydra, it would print a second line
            failed.append(_plain(error))
            _say(failed[-1])
            return float("nan")
        except Interrupted as error:  # a sweep stops as well
            _say(str(error))
            sys.exit(130)

    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()
    except (HydraException, OmegaConfBaseException, OSError, ValueError, KeyError) as error:
        if started:  # not a matter of the configuration any more, but a defect: show where
            raise
        failed.append(_plain(error))
        _say(failed[-1])
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(130)
    sys.exit(2 if failed else 0)


def _say(message: str) -> None:
    print(f"metalearn: {message}", file=sys.stderr)


def _plain(error: Exception) -> str:
    """An error as one line that says what to do."""
    from hydra.errors import MissingConfigException

    text = str(error)
    if isinstance(error, MissingConfigException):
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        return f"{group}={choice}: no such choice; there are {', '.join(sorted(error.options or []))}"
    if key := re.search(r"(?s)Could not override '([^']*)'(?:.*Key '([^']*)' is not in struct)?", text):
        name = f"{key[1]}.{key[2]}" if key[1] and key[2] else key[1] or key[2]
        if name.rpartition(".")[0] in ("algo.inner_optimizer", "outer.optimizer"):
            return f"{name}: not set so far: write +{name}= to hand it to the optimiser"
        return f"{name}: no such setting{_nearest(name)}; --help explains them, --cfg job shows all"
    if "missing EQUAL" in text:
        return f"{text.split(chr(39))[1]}: write settings as key=value; --help explains them"
    if text.startswith("Missing mandatory value"):
        return f"{getattr(error, 'full_key', None) or text.split()[-1]}: a value is needed, see --help"
    if "Config group override" in text:
        return "algo, data, model, outer and tracker need one of their choices, not null: --help lists them"
    if isinstance(error, OSError):
        return f"{error.filename or 'the system'}: {error.strerror or error}"
    return " ".join(text.split("\n")[0].split())


def _nearest(key: str) -> str:
    """The setting that was probably meant."""
    from omegaconf import OmegaConf

    names = ["algo", "data", "model", "outer", "tracker", "experiment"]
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
