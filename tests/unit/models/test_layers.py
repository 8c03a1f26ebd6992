"""The layers of any module, in the order of a forward pass, each with its normalization."""

import torch
from torch import nn

from metalearn.config.compose import compose
from metalearn.models.build import build_model
from metalearn.models.layers import Layer, find_layers
from metalearn.models.torch_layers import pure


class Odd(nn.Module):
    """A normalization first, a shared layer, attention, a parameter of its own, and an unused order of definition."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 3)
        self.places = nn.Parameter(torch.zeros(4, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.after = nn.LayerNorm(8)
        self.first = nn.GroupNorm(1, 4)
        self.twice = nn.Linear(8, 8)

    def forward(self, x):
        x = self.twice(self.first(x)) + self.places
        x = self.after(self.attention(x, x, x)[0])
        return self.head(self.twice(x).mean(1))


def test_the_blocks_of_conv4_and_resnet12():
    for name, words, expected in [
        ("conv4", ["model.filters=2"], [f"convs.{i}" for i in range(4)]),
        (
            "resnet12",
            ["model.width=[2,2,2,2]"],
            [f"blocks.{i}.{part}" for i in range(4) for part in ("conv1", "conv2", "conv3", "shortcut")],
        ),
    ]:
        model = pure(build_model(compose(f"model={name}", *words)["model"], (1, 28, 28), 5))
        layers = find_layers(model, (1, 28, 28))
        assert [layer.name for layer in layers] == [*expected, "head"]
        assert sorted(n for layer in layers for n in layer.parameters) == sorted(dict(model.named_parameters()))
        output = expected[1].replace("convs", "norms").replace("conv", "norm")
        assert layers[1] == Layer(expected[1], output, (f"{expected[1]}.weight", f"{output}.weight", f"{output}.bias"))
        assert layers[-1].output == "head"


def test_the_layers_of_an_odd_module():
    model = Odd()
    layers = find_layers(model, (4, 8))
    assert [(layer.name, layer.output) for layer in layers] == [
        ("Odd", "first"),
        ("twice", "twice"),
        ("attention", "after"),
        ("head", "head"),
    ]
    assert layers[0].parameters == ("places", "first.weight", "first.bias")
    assert {"attention.in_proj_weight", "attention.out_proj.weight", "after.bias"} <= set(layers[2].parameters)
    assert sorted(n for layer in layers for n in layer.parameters) == sorted(dict(model.named_parameters()))
