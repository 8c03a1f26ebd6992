"""The run that the command line, or one job of a sweep, asks for."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from metalearn.cli.overrides import sets
from metalearn.config.compose import compose, plain

if TYPE_CHECKING:
    from metalearn.lifecycle.run_folder import Invocation


class Job(NamedTuple):
    """A run to launch."""

    config: dict[str, Any]
    folder: Path
    invocation: "Invocation"


def requested(config: Any, folder: str | Path | None) -> Job:
    """Collect what a run needs to know from the command line.

    Args:
        config: the composed configuration; None to compose it from the command line.
        folder: of the run; None for Hydra's, that of `resume`, or a new one, `runs/<time>`.
    """
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    overrides = sys.argv[1:] if config is None else None
    if hydra:
        overrides, folder = list(hydra.overrides.task), folder or hydra.runtime.output_dir
    values = compose(*overrides) if config is None and overrides is not None else plain(config)
    from metalearn.lifecycle import launch, manifest, run_folder  # torch is imported for accepted configurations only

    resumed = values["resume"] if values["resume"] != "auto" else None
    invocation = run_folder.Invocation(
        overrides=overrides and [word for word in overrides if not sets(word, *manifest.RESUME_ONLY)],
        group=Path(hydra.sweep.dir).name if hydra and sweeping() else None,
        describe=(lambda folder: _describe(config, hydra, folder)) if hydra else lambda folder: None,
        by_default=_by_default(hydra) if hydra else folder is None and resumed is None,
    )
    return Job(values, Path(folder or resumed or launch.new_name()), invocation)


def sweeping() -> bool:
    """True if the present run is one of a sweep."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _by_default(hydra: Any) -> bool:
    """True for a single new run whose folder the user did not name."""
    return not sweeping() and not any(sets(word, "hydra.run.dir") for word in hydra.overrides.hydra)


def _describe(config: Any, hydra: Any, folder: Path) -> None:
    """Write .hydra/ as Hydra does. Hydra itself would write it before the run is accepted."""
    from omegaconf import OmegaConf

    place = folder / ".hydra"
    place.mkdir(exist_ok=True)
    OmegaConf.save(config, place / "config.yaml")
    OmegaConf.save(OmegaConf.create({"hydra": hydra}), place / "hydra.yaml")
    OmegaConf.save(hydra.overrides.task, place / "overrides.yaml")
