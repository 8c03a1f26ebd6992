"""Sweeps of W&B in conf/wandb: the command that the agent would build is one that metalearn takes."""

import pytest
import yaml

from metalearn.algorithms.objective import OBJECTIVES
from metalearn.config.compose import compose
from metalearn.config.groups import CONF, groups
from metalearn.trackers.base import sectioned
from tests.helpers.configs import every

FILES = sorted((CONF / "wandb").glob("*.yaml"))
of_each = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def ends(parameter):
    """The first and the last value of a parameter."""
    values = parameter.get("values") or (parameter["min"], parameter["max"])
    return values[0], values[-1]


@of_each
@pytest.mark.parametrize("end", every(2, [0, 1]))
def test_the_command_of_the_agent_composes(file, end):
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    sweep = yaml.safe_load(file.read_text())
    values = {name: {"value": ends(parameter)[end]} for name, parameter in sweep["parameters"].items()}
    words = utils.create_sweep_command_args({"args": values})["args_no_hyphens"]
    command = utils.create_sweep_command(list(sweep["command"]))
    assert command[:4] == ["${env}", "python", "-m", "metalearn.run"] and command[-1] == "${args_no_hyphens}"
    config = compose(*command[4:-1], *words)
    assert config["tracker"]["wandb"]["_target_"] == "metalearn.trackers.wandb.WandB"
    for word in words:
        name, _, value = word.partition("=")
        node = config
        for part in name.split("."):
            node = node[part]
        assert name in groups() or node == yaml.safe_load(value), word


@of_each
def test_the_metric_is_logged(file):
    sweep = yaml.safe_load(file.read_text())
    logged = {sectioned(f"val_{objective.name}"): objective for objective in OBJECTIVES}
    goal = "maximize" if logged[sweep["metric"]["name"]].better(1.0, 0.0) else "minimize"
    assert sweep["metric"]["goal"] == goal


def test_sweeps_are_no_choices():
    assert "wandb" not in groups() and len(FILES) >= 2
