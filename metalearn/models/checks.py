"""Check a model before anything is trained: its head, its shapes, and that a pass is a function of its inputs."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from metalearn.models.failures import innermost_layer
from metalearn.models.head import NEW, PAGE, Head, name_of, without_head
from metalearn.models.norm import NormContext, using_context
from metalearn.models.watch import watched
from metalearn.runtime.errors import UserError, described

EXAMPLES = 3  # inputs of a dry pass


def example(model: nn.Module, shape: Sequence[int]) -> Tensor:
    """Inputs of a dry pass [3, *shape]; torch's generator is not used."""
    like = next(model.parameters(), torch.empty(0))
    x = torch.rand(EXAMPLES, *shape, generator=torch.Generator().manual_seed(0))
    return x.to(like.device, like.dtype)


def check_model(model: nn.Module, head: Head, shape: Sequence[int]) -> None:
    """Run inputs through a copy of a model, so that a mistake in it is found at once.

    The state of random generators stays as it is.

    Args:
        model: with weights in memory; with the layers of metalearn.models.torch_layers.pure.
        head: of the model.
        shape: of one input, without the batch dimension.

    Raises:
        UserError: a pass fails, gives another shape than promised, changes a state or draws random numbers, or the
            head is not the last operation; in one line that names the layer.
    """
    who, model, x = name_of(model), copy.deepcopy(model), example(model, shape)
    layer = model.get_submodule(head.module)
    generator = torch.Generator().manual_seed(1)
    for p in layer.parameters():  # at zero, every head would seem to be the last operation
        p.data = torch.randn(p.shape, generator=generator).to(p)
    body, where = without_head(model, head), head.module or "the model"
    hint = "" if head.is_named else f"; name its head by model.head=, or put one on its features by model.head={NEW}"
    for training, count in ((True, EXAMPLES), (False, EXAMPLES - 1)):  # and another number of inputs
        fresh, body, x = copy.deepcopy(model).train(training), body.train(training), x[:count]
        try:
            outputs = dry_pass(fresh, x, who, is_watched=True)
        except UserError:
            _check_width(body, head, x, who)
            raise
        if not isinstance(outputs, Tensor) or tuple(outputs.shape) != (count, head.out_features):
            raise UserError(
                f"model={who}: gives {_spell(outputs)} for {count} inputs; it must give the {head.out_features} "
                f"outputs of its head {where} for each{hint}{PAGE}"
            )
        try:
            features = dry_pass(body, x, who)
        except UserError:
            features = None
        fits = isinstance(features, Tensor) and tuple(features.shape) == (count, head.in_features)
        if not fits or not _same(outputs, layer(features)):
            raise UserError(f"model={who}: its head {where} is not the last operation: the outputs must be "
                            f"{where} of one row of features an input{hint}{PAGE}")  # fmt: skip


def require_trainable(model: nn.Module) -> None:
    """Raise UserError where a parameter of the model is frozen: training would change it."""
    if frozen := [name for name, p in model.named_parameters() if not p.requires_grad]:
        raise UserError(
            f"model={name_of(model)}: parameter {frozen[0]} has requires_grad=False, and every parameter is trained: "
            f"leave that out, or keep constants as buffers (register_buffer){PAGE}"
        )


def feature_width(body: nn.Module, shape: Sequence[int]) -> int:
    """Find the number of features that a module gives, by a dry pass.

    Raises:
        UserError: the pass fails, or does not give one row of numbers an input.
    """
    who, body = name_of(body), copy.deepcopy(body).eval()
    features = dry_pass(body, example(body, shape), who)
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != EXAMPLES:
        raise UserError(
            f"model={who}: gives {_spell(features)} for {EXAMPLES} inputs; for model.head={NEW} it must give one row "
            f"of numbers an input, as x.flatten(1) does{PAGE}"
        )
    return features.shape[1]


def dry_pass(model: nn.Module, x: Tensor, who: str, is_watched: bool = False) -> Any:
    """Run inputs through a model without gradients.

    Args:
        who: the model's name, for messages.
        is_watched: refuse a pass that changes a state or draws random numbers.
    """

    def once() -> Any:
        with torch.no_grad(), using_context(NormContext(training=model.training)):
            return model(x)

    try:
        with torch.random.fork_rng(devices=[]):
            return watched(model, once) if is_watched else once()
    except UserError:
        raise
    except Exception as error:
        where, shape = innermost_layer(model, once), "x".join(map(str, x.shape[1:]))
        text = f"model={who}: {where} fails on inputs of {shape}: {described(error)}{_channels(error)}"
        raise UserError(text) from error


def _channels(error: Exception) -> str:
    """Say how a network for colour images takes grey ones."""
    grey = "to have 3 channels, but got 1 channels" in str(error)
    return "; for grey images: model.repeat_channels=3" if grey else ""


def _check_width(body: nn.Module, head: Head, x: Tensor, who: str) -> None:
    """Refuse a head of another width than the features, in a line that tells the width."""
    try:
        features = dry_pass(body, x, who)
    except UserError:
        return
    if isinstance(features, Tensor) and features.ndim == 2 and features.shape[1] != head.in_features:
        given = features.shape[1]
        raise UserError(
            f"model={who}: head {head.module} takes {head.in_features} features, and is given {given}: "
            f"nn.Linear({given}, ...)"
        )


def _same(a: Tensor, b: Tensor) -> bool:
    """True if two outputs differ by rounding alone."""
    scale = a.abs().max().clamp(min=1e-6)
    return bool(((a - b).abs() <= 1e-3 * scale).all()) or not a.isfinite().all()


def _spell(value: object) -> str:
    return f"the shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
