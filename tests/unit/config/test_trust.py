"""A run folder or a checkpoint from a stranger runs no code, unless the user passes trust=true."""

import json
import sys

import pytest
import torch

import metalearn
from metalearn.config import trust
from metalearn.config.instantiate import build
from metalearn.config.locate import locate
from metalearn.controls import Control
from metalearn.data import Dataset
from metalearn.lifecycle.launch import train
from metalearn.recording import checkpoint
from metalearn.runtime.errors import UserError
from metalearn.trackers.base import Tracker
from tests.helpers.configs import QUICK, SINUSOID, config
from tests.helpers.processes import refused

MODULE = """
import pathlib
pathlib.Path({marker!r}).touch()
from metalearn.algorithms.maml import MAML
class Mine(MAML):
    pass
def f(run):
    return None
"""


@pytest.fixture
def attack(tmp_path, monkeypatch):
    """The name of a module whose import leaves a file behind, and that file."""
    marker, name = tmp_path / "executed", "strangers_module"
    (tmp_path / f"{name}.py").write_text(MODULE.format(marker=str(marker)))
    monkeypatch.syspath_prepend(tmp_path)
    yield name, marker
    sys.modules.pop(name, None)


def with_spec(folder, **changes):
    """The run's best checkpoint with another spec, and a digest that is right."""
    path = folder / "checkpoints" / "last.pt"
    content = checkpoint.read(path)
    for name, change in changes.items():
        content["spec"][name] = {**content["spec"][name], **change} if isinstance(change, dict) else change
    path.write_bytes(checkpoint.pack({key: value for key, value in content.items() if key != "format"}))
    return path


@pytest.mark.parametrize("part", ["algo", "model"])
def test_a_checkpoint_imports_no_module(stopped, attack, part):
    name, marker = attack
    path = with_spec(stopped, **{part: {"_target_": f"{name}.Mine"}})
    with pytest.raises(UserError, match=rf"{part}\._target_={name}\.Mine: comes from a file .*trust=true"):
        metalearn.load(path)
    assert not marker.exists() and name not in sys.modules


def test_a_trusted_checkpoint_may_name_a_class_outside_metalearn(stopped, attack):
    name, marker = attack
    path = with_spec(stopped, algo={"_target_": f"{name}.Mine"})
    assert type(metalearn.load(path, trust=True).algorithm).__name__ == "Mine" and marker.exists()


FUNCTIONS = [
    "subprocess.getoutput",
    "os.system",
    "builtins.eval",
    "pickle.loads",
    "metalearn.config.locate.locate",
    "metalearn.runtime.files.write_atomically",
    "torch.load",
    "torch.nn.init.eval",
    "torchvision.models.get_weight",
    "torchvision.models.get_model_weights",
]


@pytest.mark.parametrize("target", FUNCTIONS)
@pytest.mark.parametrize("kind", [Dataset, Tracker, Control, torch.nn.Module])
def test_no_function_is_called_for_an_object(target, kind, tmp_path):
    node = {"_target_": target, "cmd": f"touch {tmp_path}/executed"}
    with (
        trust.limit(),
        pytest.raises(UserError, match=r"comes from a file|does not make a|cannot be imported|is not a class"),
    ):
        build(node, "part", kind)
    with pytest.raises(
        UserError, match=r"does not make a|cannot be imported|is not a class"
    ):  # trusted: the kind counts still
        build(node, "part", kind)
    assert not (tmp_path / "executed").exists()


def test_modules_of_torch_and_torchvision_are_safe_without_weights():
    with trust.limit():
        layer = build({"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}, "model.x", torch.nn.Module)
        assert layer.weight.shape == (3, 2)
        pytest.importorskip("torchvision")
        node = {"_target_": "torchvision.models.squeezenet1_1", "num_classes": 2}
        assert isinstance(build(node, "model.x", torch.nn.Module), torch.nn.Module)
        with pytest.raises(UserError, match="would download weights"):
            build({**node, "weights": "DEFAULT"}, "model.x", torch.nn.Module)


def test_what_the_command_line_names_is_trusted(attack, tmp_path):
    name, _ = attack
    (tmp_path / "mine" / "algo").mkdir(parents=True)
    (tmp_path / "mine" / "algo" / "mine.yaml").write_text(f"_target_: {name}.Mine\n")
    words = (
        [f"algo._target_={name}.Mine"],
        ["--config-dir", str(tmp_path / "mine")],
        [f"--config-dir={tmp_path}/mine"],
    )
    for typed in words:
        with trust.limit(typed):
            assert locate(f"{name}.Mine", "algo._target_", None).__name__ == "Mine"
            with pytest.raises(UserError, match="comes from a file"):
                locate(f"{name}.f", "f", None)
    with trust.limit([], trusted=True):
        assert locate("os.system", "f", None)


CALLS = {
    "data._target_": "subprocess.getoutput",
    "tracker.mine._target_": "subprocess.getoutput",
    "algo._target_": "{}.Mine",
    "model._target_": "{}.Mine",
    "control.cycle.mine._target_": "{}.Mine",
    "control.cycle.Callback.f": "{}.f",
    "control.cycle.Info.f": "{}.f",
    "control.cycle.Warn.predicate": "{}.f",
    "control.cycle.WarmUp": {"n": 1, "control": {"Callback": {"f": "{}.f"}}},
}


@pytest.mark.parametrize("where", CALLS)
def test_a_configuration_from_a_file_calls_nothing(where, attack, tmp_path):
    name, marker = attack
    values = config(*SINUSOID)
    *groups, last = where.split(".")
    node = values
    for group in groups:
        node = node.setdefault(group, {})
    node[last] = json.loads(json.dumps(CALLS[where]).replace("{}.", f"{name}."))
    with trust.limit(), pytest.raises(UserError, match=r"comes from a file and may run any code.*trust=true"):
        train(values, tmp_path / "run")
    assert not marker.exists() and name not in sys.modules


def test_a_configuration_from_a_file_downloads_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("metalearn.data.omniglot.fetch", lambda folder: pytest.fail("downloads"))
    node = config("data=omniglot")["data"] | {"root": str(tmp_path / "somewhere"), "download": True}
    with trust.limit(), pytest.raises(UserError, match="Omniglot is not under"):
        build(node, "data", Dataset)
    assert not (tmp_path / "somewhere").exists()


WORDS = [
    "data._target_=subprocess.getoutput",
    "hydra.callbacks.x._target_={}.Mine",
    "+hydra.callbacks={{x: {{_target_: {}.Mine}}}}",
    "hydra/launcher=evil",
    "hydra.launcher._target_={}.Mine",
    "hydra.job_logging={{version: 1, handlers: {{x: {{(): {}.f}}}}}}",
    "hydra.searchpath=[file://evil]",
    "hydra.job.env_set.LD_PRELOAD=evil.so",
    "model=../../evil",
    "model=${{tracker.group}}",
    "+algo@hydra.callbacks=evil",
    "+model/../../evil=x",
    "--config-dir=evil",
    "-m",
    "trust=true",
    "tracker.wandb.project=${{oc.env:HOME}}",
    "data.root='${{oc.env:HOME}}'",
]


def told(folder, *words):
    """Let the run's folder say that it was begun with other words."""
    file = folder / "config.json"
    content = json.loads(file.read_text())
    content["overrides"] = [*content["overrides"], *words]
    file.write_text(json.dumps(content))


@pytest.mark.slow
def test_words_from_a_file_reach_hydra_only_as_settings(typed, attack, tmp_path):
    name, marker = attack
    assert typed(*QUICK, "hydra.run.dir=out").returncode == 0
    begun = (tmp_path / "out" / "config.json").read_bytes()
    for word in WORDS:
        (tmp_path / "out" / "config.json").write_bytes(begun)
        told(tmp_path / "out", word.format(name))
        refused(typed("resume=out"), "trust=true", "from a file")
    assert not marker.exists()


def test_ordinary_words_need_no_trust():
    for word in ("way=5", "+control.cycle.Patience.n=5", "~tracker", "experiment=omniglot/maml_5w1s", "eval.query=${query}",
                 "data.root=../data", "algo.inner_optimizer={name: SGD, lr: 0.1}", "++outer.optimizer.weight-decay=1"):  # fmt: skip
        assert trust.safe_word(word), word


@pytest.mark.slow
def test_a_run_with_code_of_its_own_says_how_to_resume_it(typed, attack, tmp_path):
    name, _ = attack
    own = [f"algo._target_={name}.Mine"]
    stop = [f"+control.cycle.Callback.f={name}.f"]
    done = typed(*QUICK, *own, *stop, "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    again = typed(*QUICK, *own, *stop, "hydra.run.dir=out")
    assert "resume=" in again.stderr and " trust=true" in again.stderr
    refused(typed("resume=out"), "comes from a file")
    assert typed("resume=out", *own, *stop).returncode == 0  # the user names the class
    assert typed("resume=out", "trust=true").returncode == 0


def test_a_checkpoint_cannot_name_a_network_that_never_ends_or_a_download(stopped):
    endless = {"_target_": "torch.nn.LSTM", "input_size": 2, "hidden_size": 2, "num_layers": 10**9, "hidden": None}
    with pytest.raises(UserError, match="a model of another size than its parameters"):
        metalearn.load(with_spec(stopped, model=endless))
    with pytest.raises(UserError, match=r"model\._target_=torchvision\.models\.get_model: comes from a file"):
        metalearn.load(with_spec(stopped, model={"_target_": "torchvision.models.get_model", "num_layers": 1}))
