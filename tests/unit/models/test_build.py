"""Build what `model._target_` names: passed-on arguments, wrong settings, wrong layers, sizes."""

import pytest
import torch
from torch import nn

import metalearn
from metalearn.config import trust
from metalearn.config.locate import locate
from metalearn.learner.spec import shapes
from metalearn.lifecycle.setup import prepare
from metalearn.models import bounds
from metalearn.models.build import build_model
from metalearn.models.head import WithHead
from metalearn.runtime.errors import UserError
from tests.helpers.configs import GLYPHS, config

SHAPE = (1, 28, 28)


class Features(nn.Module):
    """Images to 16 features."""

    def __init__(self, width: int = 4):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3)

    def forward(self, x):
        return nn.functional.adaptive_avg_pool2d(self.conv(x).relu(), 2).flatten(1)


class Scores(Features):
    """It takes the shape and `outputs`."""

    def __init__(self, *, shape, outputs: int):
        assert shape == SHAPE
        super().__init__()
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        return self.fc(super().forward(x))


class Passing(Scores):
    """Passes its settings on."""

    def __init__(self, **settings):
        super().__init__(**settings)


class Wrong(Features):
    def forward(self, x):
        return self.conv(x.flatten(1))


class Empty(nn.Module):
    pass


def node(name: str, **settings) -> dict:
    return {"_target_": f"{__name__}.{name}", **settings}


def test_a_constructor_that_passes_its_arguments_on_is_given_those_of_its_base():
    torch.manual_seed(0)
    made = build_model(node("Passing"), SHAPE, 3)
    torch.manual_seed(0)
    x = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(1))
    assert torch.equal(made(x), Scores(shape=SHAPE, outputs=3)(x))


@pytest.mark.parametrize(("name", "message"), [
    ("Wrong", "model=Wrong: layer conv (Conv2d) fails on inputs of 1x28x28: RuntimeError: "),
    ("Empty", "model=Empty: Empty fails on inputs of 1x28x28: NotImplementedError: ")])  # fmt: skip
@pytest.mark.parametrize("at", ["building", "use"])
def test_a_failing_layer_below_a_new_head_is_named_as_the_user_knows_it(name, message, at):
    with pytest.raises(UserError) as refused:
        if at == "building":
            build_model(node(name, head="new"), SHAPE, 3)
        else:
            model = WithHead(globals()[name](), 16, 3)
            metalearn.algorithm("maml", model, way=3, shot=1, shape=SHAPE)
    assert str(refused.value).startswith(message)


def test_a_function_of_a_library_need_not_be_annotated_by_the_user():
    with pytest.raises(UserError) as refused:
        locate("torch.hub.load", "model._target_", nn.Module)
    said = str(refused.value)
    assert "if it does, write a function: def make(...) -> torch.nn.Module: return torch.hub.load(...)" in said
    with pytest.raises(UserError, match=r"does not make a torch\.nn\.Module; see docs"):
        locate("os.getcwd", "model._target_", nn.Module)


def test_settings_of_the_choice_before_are_named_together():
    old = {"filters": 64, "pooling": "flatten"}
    with pytest.raises(UserError, match="Scores has no such setting; it has none; leave them out"):
        build_model(node("Scores", **old), SHAPE, 5)
    for name in ("torchvision.models.resnet18", f"{__name__}.Passing", f"{__name__}.Features"):
        with pytest.raises(UserError, match=r"^model\.filters: .* has no such setting; it has .*; leave them out by "
                                            r"~model\.filters ~model\.pooling; or choose model=module"):  # fmt: skip
            build_model({"_target_": name, **old}, SHAPE, 5)


def test_a_stranger_cannot_ask_for_a_model_without_end(monkeypatch):
    monkeypatch.setattr(bounds, "MOST_PARTS", 500)
    setup = prepare(config(*GLYPHS))
    deep = {"_target_": "torchvision.models.DenseNet", "block_config": [10**9]}
    with trust.limit(), pytest.raises(UserError, match="model: more than 500 layers and parameters"):
        shapes({**setup.phase.spec, "model": deep})
