"""The library from Python: data, model and algorithm with the values of conf/."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import metalearn
from metalearn.runtime.errors import UserError
from tests.helpers.configs import ALGORITHMS, ROOT, every


def test_two_meta_steps_of_maml():
    data = metalearn.dataset("glyphs", classes=[40, 10, 10])
    tasks = data.source("train", 0, "cpu")
    torch.manual_seed(0)
    model = metalearn.model("conv4", shape=data.shape, outputs=5, filters=8)
    maml = metalearn.algorithm("maml", model, way=5, shot=1)
    params = maml.init()
    outer = torch.optim.Adam([parameter.requires_grad_() for parameter in params.model.values()], lr=0.003)
    losses = []
    for step in range(2):
        result = maml.meta_gradient(params, maml.sample(tasks, step, "cpu"))
        for name, parameter in params.model.items():
            parameter.grad = result.gradients[name]
        outer.step()
        losses.append(float(result.metrics["loss"]))
    assert len(losses) == 2 and all(0 < loss < 10 for loss in losses)
    assert maml.meta_batch == 16 and maml.inner_optimizer == {"name": "SGD", "lr": 0.4} and maml.query == 1


@pytest.mark.parametrize("name", every(4, ALGORITHMS))
def test_every_algorithm_has_the_values_of_its_file(name):
    import yaml

    model = metalearn.model("conv4", shape=(1, 28, 28), outputs=5, filters=4)
    made = metalearn.algorithm(name, model, way=5, shot=1, labels=20, inner_steps_test=4)
    file = yaml.safe_load((ROOT / "conf" / "algo" / f"{name}.yaml").read_text())
    values = file | {"inner_steps_test": 4}
    assert {key: getattr(made, key) for key in values if key != "_target_"} == {
        k: v for k, v in values.items() if k != "_target_"
    }
    assert made.query == metalearn.compose(f"algo={name}")["query"] and made.norm == "transductive"


def test_mistakes_in_python_are_one_line(tmp_path):
    model = metalearn.model("mlp", shape=(1,), outputs=1)
    for call, message in (
        (lambda: metalearn.algorithm("mmal", model, way=5, shot=1), "there are anil, "),
        (lambda: metalearn.algorithm("maml", model, way=5, shot=1, inner_stpes=3), "no such setting"),
        (
            lambda: metalearn.algorithm("maml", nn.Flatten(), way=5, shot=1),
            "has no nn.Linear, which would be its head; model.head=new puts one on",
        ),
        (lambda: metalearn.dataset("folder"), "root: a value is needed"),
        (lambda: metalearn.dataset("folder", root=str(tmp_path / "none")), "no such folder"),
        (lambda: metalearn.model("conv4", shape=(1, 28, 28), outputs=5, filters=0), "must be at least 1"),
    ):
        with pytest.raises(UserError, match=message) as error:
            call()
        assert "\n" not in str(error.value)


def test_the_public_names_are_shown_and_imported_on_demand():
    assert {"load", "compose", "dataset", "model", "algorithm", "UserError"} <= set(dir(metalearn))
    assert metalearn.compose("algo=anil", "way=20")["way"] == 20
    code = (
        "import sys, metalearn; dir(metalearn); metalearn.UserError; metalearn.compose; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    for name in dir(metalearn):
        getattr(metalearn, name)
