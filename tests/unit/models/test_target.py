"""`model._target_` names any module of torch: its scores get their head from it, its features a new one."""

import pytest
import torch
from torch import nn

import metalearn
from metalearn.config import trust
from metalearn.config.locate import locate
from metalearn.errors import UserError
from metalearn.learner.spec import shapes
from metalearn.lifecycle.setup import prepare
from metalearn.models import target
from metalearn.models.backbone import Backbone
from metalearn.models.norm import NormContext
from metalearn.models.target import build_model
from tests.helpers.configs import GLYPHS, config
from tests.helpers.tasks import batch_of

SHAPE = (1, 28, 28)


class Features(nn.Module):
    """Images to 16 features."""

    def __init__(self, width: int = 4):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        return nn.functional.adaptive_avg_pool2d(self.act(self.norm(self.conv(x))), 2).flatten(1)


class Scores(Features):
    """Images to scores, by a layer in the middle of its attributes."""

    def __init__(self, *, num_classes: int, bias: bool = True):
        super().__init__()
        self.fc = nn.Linear(16, num_classes, bias=bias)
        self.unused = nn.Linear(3, 3)

    def forward(self, x):
        return self.fc(super().forward(x))


class Ways(Scores):
    """It takes the shape and `outputs`."""

    def __init__(self, *, shape, outputs: int):
        assert shape == SHAPE
        super().__init__(num_classes=outputs)


class Passing(Scores):
    """Passes its settings on."""

    def __init__(self, **settings):
        super().__init__(**settings)


class Squashed(Scores):
    def forward(self, x):
        return super().forward(x).softmax(1)


class Twice(Scores):
    def __init__(self, *, num_classes: int):
        super().__init__(num_classes=num_classes)
        self.fc = nn.Linear(num_classes, num_classes)
        self.into = nn.Linear(16, num_classes)

    def forward(self, x):
        return self.fc(self.fc(self.into(Features.forward(self, x))))


class Deaf(Features):
    def __init__(self, num_classes: int):
        super().__init__()


class Images(Features):
    def forward(self, x):
        return self.conv(x)


class Wrong(Features):
    def forward(self, x):
        return self.act(self.conv(x.flatten(1)))


class Empty(nn.Module):
    pass


def made(*, outputs: int) -> nn.Module:
    return Scores(num_classes=outputs)


def unannotated(*, outputs):
    return Scores(num_classes=outputs)


def build(name, **settings):
    torch.manual_seed(0)
    return build_model({"_target_": f"{__name__}.{name}", **settings}, SHAPE, 3)


@pytest.mark.parametrize(("name", "settings"), [
    ("Scores", {}), ("Ways", {}), ("Passing", {}), ("made", {})])  # fmt: skip
def test_scores_keep_their_head(name, settings):
    model = build(name, **settings)
    assert isinstance(model, Backbone) and model.head.out_features == 3 and model.head.weight.any()
    assert model.class_name() in ("Scores", "Ways", "Passing")
    torch.manual_seed(0)
    plain = Scores(num_classes=3).eval()
    x = torch.rand(5, *SHAPE)
    assert torch.equal(model.eval()(x, NormContext()), plain(x))
    assert {name for name, _ in model.named_parameters()} == {
        *(f"body.{name}" for name, _ in plain.named_parameters() if not name.startswith("fc.")),
        "head.weight",
        "head.bias",
    }


@pytest.mark.parametrize(("settings", "name", "width"), [
    ({}, "Features", 16), ({"width": 8}, "Features", 32), ({"num_classes": 7}, "Scores", 7)])  # fmt: skip
def test_features_get_a_head_at_zero(settings, name, width):
    model = build(name, **settings)
    assert isinstance(model, Backbone) and tuple(model.head.weight.shape) == (3, width) and not model.head.weight.any()


MISTAKES = {
    "Squashed": "model=Squashed: its scores are not the output of an nn.Linear, so that it has no head; let it give",
    "Twice": "model=Twice: its scores are not the output of an nn.Linear",
    "Deaf": "model=Deaf: gives 16 scores; it was asked for 3",
    "Images": "model=Images: gives the shape [2, 4, 26, 26] for 2 inputs; it must give one row of features or scores",
    "Wrong": "model=Wrong: layer conv (Conv2d) fails on inputs of 1x28x28: RuntimeError: ",
    "Empty": "model=Empty: Empty fails on inputs of 1x28x28: NotImplementedError: ",
    "unannotated": f"model._target_={__name__}.unannotated: does not make a torch.nn.Module; annotate what the function "
    "returns: -> torch.nn.Module; see docs/extending.md#a-model",
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_module_that_cannot_be_a_model(name):
    with pytest.raises(UserError) as refused:
        build(name)
    assert str(refused.value).startswith(MISTAKES[name])


def test_a_head_without_a_bias():
    words = [word for word in GLYPHS if not word.startswith("model.")]
    node = {"_target_": f"{__name__}.Scores", "bias": False}
    with pytest.raises(UserError, match="model=Scores: head has no bias"):
        prepare({**config(*words), "model": node})


def test_a_function_of_a_library_need_not_be_annotated_by_the_user():
    with pytest.raises(UserError) as refused:
        locate("torch.hub.load", "model._target_", nn.Module)
    said = str(refused.value)
    assert "if it does, write a function: def make(...) -> torch.nn.Module: return torch.hub.load(...)" in said
    with pytest.raises(UserError, match=r"does not make a torch\.nn\.Module; see docs"):
        locate("os.getcwd", "model._target_", nn.Module)


def test_settings_of_the_choice_before_are_named_together():
    node = {"_target_": "torchvision.models.resnet18", "filters": 64, "pooling": "flatten"}
    with pytest.raises(UserError, match="Ways has no such setting; it has none; leave them out"):
        build_model({**node, "_target_": f"{__name__}.Ways"}, SHAPE, 5)
    for name in ("torchvision.models.resnet18", f"{__name__}.Passing", f"{__name__}.Features"):
        with pytest.raises(UserError, match=r"^model\.filters: .* has no such setting; it has .*; leave them out by "
                                            r"~model\.filters ~model\.pooling$"):  # fmt: skip
            build_model({**node, "_target_": name}, (3, 28, 28), 5)


def test_a_network_of_torchvision_is_meta_learned():
    model = build_model({"_target_": "torchvision.models.resnet18"}, (3, 28, 28), 3)
    assert model.class_name() == "ResNet" and tuple(model.head.weight.shape) == (3, 512)
    algo = metalearn.algorithm("fomaml", model, way=3, shot=2, query=1)
    batch = batch_of(dtype=torch.float32)
    batch = batch._replace(
        support_x=batch.support_x.expand(-1, -1, 3, -1, -1), query_x=batch.query_x.expand(-1, -1, 3, -1, -1)
    )
    gradient = algo.meta_gradient(algo.init(), batch).gradients
    assert all(value.isfinite().all() for value in gradient.values()) and gradient["body.conv1.weight"].any()


def test_a_stranger_cannot_ask_for_a_model_without_end(monkeypatch):
    monkeypatch.setattr(target, "MOST_PARTS", 500)
    setup = prepare(config(*GLYPHS))
    deep = {"_target_": "torchvision.models.DenseNet", "block_config": [10**9]}
    with trust.limit(), pytest.raises(UserError, match="model: more than 500 layers and parameters"):
        shapes({**setup.phase.spec, "model": deep})


def test_a_wrong_width_is_one_line_in_python_too():
    model = Backbone(Features(), width=32, outputs=3)
    batch = batch_of(dtype=torch.float32)
    for name in ("maml", "anil", "protonet"):
        algo = metalearn.algorithm(name, model, way=3, shot=2)
        with pytest.raises(UserError, match=r"^model=Features: head takes 32 features, the body gives 16: "
                                            r"Backbone\(module, width=16, outputs=\.\.\.\)$"):  # fmt: skip
            algo.meta_gradient(algo.init(), batch)
