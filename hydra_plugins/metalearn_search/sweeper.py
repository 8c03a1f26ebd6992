"""Sweeper of Hydra that hands a search to metalearn.search. Hydra 1.3 accepts sweepers in hydra_plugins alone.

Hydra imports this file at every start, so that it imports nothing heavy.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper

NAME = "metalearn_search"

ConfigStore.instance().store(group="hydra/sweeper", name=NAME, node={"_target_": f"{__name__}.SearchSweeper"})


class SearchSweeper(Sweeper):
    """Search over the sweeps of the command line."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        """Keep what Hydra knows."""
        self._context, self._config = hydra_context, config

    def sweep(self, arguments: list[str]) -> None:
        """Run the search to its report.

        Args:
            arguments: the settings on the command line.
        """
        from metalearn.cli.resume_command import sweep_command
        from metalearn.cli.task import accept
        from metalearn.config.compose import plain

        search = _search()
        from metalearn.search.composer import Composer

        def load(words: Any) -> Any:
            return _without_hydra(self._context.config_loader.load_sweep_config(self._config, list(words)))

        hydra = self._config.hydra
        chosen = any(word.startswith("hydra.sweep.dir=") for word in hydra.overrides.hydra)
        config = plain(_without_hydra(self._config))
        search(arguments, config, Path(hydra.sweep.dir), Composer(load), sweep_command, accept, chosen)


def _search() -> Callable[..., None]:
    """Import the search.

    Raises:
        UserError: a package that it needs is missing.
    """
    from metalearn.cli.starting import announce

    announce()
    try:
        from metalearn.search.command import search
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package in ("metalearn", "hydra_plugins"):
            raise
        from metalearn.runtime.errors import UserError

        raise UserError(f"search=: needs {package}; in the clone: pip install '.[search]'") from error
    return search


def _without_hydra(config: Any) -> Any:
    """Return the settings of a run alone."""
    from omegaconf import OmegaConf

    return OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
