"""Networks of the speed table, in plain torch: every engine computes with the same one."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metalearn.config.compose import compose
from metalearn.models.build import build_model
from metalearn.models.head import find_head


class Plain(nn.Module):
    """A network as a user may write one: other kernels, strides and activations, a bias in every layer."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 5, stride=2, padding=2), nn.BatchNorm2d(32), nn.ELU(),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2),
            nn.Flatten(), nn.Linear(256, 64), nn.Tanh(),
        )  # fmt: skip
        self.fc = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, 1, 28, 28] to class scores."""
        scores: Tensor = self.fc(self.body(x))
        return scores


@dataclass(frozen=True)
class Network:
    """A network of the table.

    Attributes:
        words: as on the command line.
        shape: of its images, (C, H, W).
    """

    words: tuple[str, ...]
    shape: tuple[int, int, int] = (1, 28, 28)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def build(self, way: int) -> nn.Module:
        """Build it; the same weights in every process."""
        torch.manual_seed(0)
        node = compose(*self.words)["model"] if self.words else {"_target_": f"{__name__}.Plain"}
        model = build_model(node, self.shape, way)
        head = model.get_submodule(find_head(model, None).module)
        torch.nn.init.normal_(head.get_parameter("weight"), std=0.05)  # at zero a body would get no gradient
        return model

    def images(self, x: Tensor) -> Tensor:
        """Images [T, B, 1, 28, 28] in the shape that the network takes.

        Colours get a little noise: on a plain background, max-pooling has ties, and its gradient depends on rounding.
        """
        if x.shape[2:] == self.shape:
            return x
        made = F.interpolate(x.flatten(0, 1), self.shape[1:], mode="bilinear")
        colours = torch.linspace(0.5, 1, self.shape[0], dtype=x.dtype, device=x.device)
        noise = torch.rand(self.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype).to(x.device)
        return (made * colours[:, None, None] + 0.1 * noise).unflatten(0, x.shape[:2])


NARROW = ("model=resnet12", "model.width=[16,32,64,128]")
NETWORKS = {
    "conv4": Network(("model=conv4",)),
    "resnet12": Network(NARROW),
    "resnet12 84x84": Network(NARROW, (3, 84, 84)),
    "backbone": Network(("model=backbone", "model.downsampling=max", "model.activation=leaky_relu")),
    "plain": Network(()),
}


def with_batch_statistics(model: nn.Module) -> nn.Module:
    """A copy whose batch norm has no running statistics, as peers need it."""
    model = copy.deepcopy(model)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.track_running_stats = False
            layer.running_mean = layer.running_var = layer.num_batches_tracked = None
    return model
