"""What every algorithm shares: the pieces of `outer_loss = loss(adapt(theta, support), query)`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from metalearn.data.base import TaskBatch, TaskSource
from metalearn.errors import UserError
from metalearn.inner.optimizers import Optimizer
from metalearn.inner.recompute import recomputed
from metalearn.inner.unroll import Batched, Loss, gradients, make_engine
from metalearn.models.base import EngineName, Functional, MetaModel, Weights, linear
from metalearn.models.masks import QUERY, Masks
from metalearn.models.norm import MOMENTUM, NormMode, Pass
from metalearn.models.torch_layers import pure
from metalearn.runtime.console import warn

Meta = dict[str, Tensor]  # all that is learned over tasks: parameters by name, and running statistics
RUNNING = "running."  # prefix of those entries of Meta that are averages, not parameters
RATE = "rate."  # prefix of learned inner rates, where an algorithm has them
Item = TypeVar("Item")


class MetaStep(NamedTuple):
    """What one meta-batch teaches."""

    gradients: Weights  # for the outer optimiser, by name of the parameter in Meta
    metrics: dict[str, Tensor]  # means over the meta-batch, left on its device
    averages: Meta  # new values of Meta's running statistics


@dataclass(frozen=True)
class Adapted:
    """A model adapted to T tasks: all that is needed to predict."""

    weights: Weights  # [T, ...], or of the parameter's own shape where tasks share it
    support_x: Tensor  # [T, N*K, ...], for the batch-norm mode `support`
    step: int  # inner steps taken
    ids: Tensor | None = None  # in meta-training: the tasks' numbers, int64 [T]
    running: list[Tensor] | None = None  # per_step, at evaluation: the statistics that hold after this step
    seen: tuple[list[Tensor], ...] = ()  # per_step, in meta-training: each support pass's batch statistics [T, 2, C]


@dataclass(kw_only=True, eq=False)
class Algorithm:
    """An algorithm: pure functions of its meta-parameters, a dict of tensors.

    As it stands it is MAML (Finn et al. 2017, algorithm 2): `adapt` is gradient descent on the support loss and
    `meta_sums` differentiates the query loss through it. A subclass says what it does otherwise.

    Args:
        model: the architecture and the initial weights.
        regression: use the mean squared error, not cross-entropy.
        way, shot, query: of the training tasks.
        norm: how batch norm gets its statistics, see metalearn.models.norm.
        labels: classes of the training source, for algorithms that classify over all of them; None in regression.
        meta_batch: tasks (or single examples) in a meta-step.
        inner_steps: inner-loop steps in meta-training.
        inner_steps_test: inner-loop steps at evaluation.
        inner_optimizer: {name: SGD or Adam, lr: ..., ...}; see metalearn.inner.unroll.make_engine for others.
        reduction: of the inner loss over a support set: `mean` over examples; `sum`; or `shot_mean`, the sum over
            classes of the mean over a class's shots, N times `mean`: the hidden factor of the original MAML code.
        engine: `grouped`, `vmap` or `higher`, see metalearn.inner; `auto` chooses by a rule (Functional.grouped).
        chunk: tasks handled at once; null leaves it to `tasks_at_once`.
        recompute: compute the inner steps again in the backward pass of a second-order meta-gradient and keep few of
            them, so that memory hardly grows with their number; null: above 10 steps.
        seed: of the random masks of dropout.
    """

    second_order: ClassVar[bool] = True  # whether the meta-gradient goes through the inner gradients
    unit: ClassVar[str] = "tasks"  # what meta_batch counts

    model: MetaModel
    regression: bool
    way: int
    shot: int
    query: int
    norm: NormMode
    labels: int | None
    meta_batch: int
    inner_steps: int
    inner_steps_test: int
    inner_optimizer: dict[str, Any]
    reduction: Literal["mean", "sum", "shot_mean"]
    engine: EngineName
    chunk: int | None
    recompute: bool | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.model, MetaModel):
            raise UserError(
                f"model={type(self.model).__name__}: must be a metalearn.models.base.MetaModel, with a head"
            )
        self.model = pure(self.model)
        for name, least in (("meta_batch", 1), ("inner_steps", 0), ("inner_steps_test", 0), ("chunk", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name}={value}: must be at least {least}")
        if not self.regression:
            self.require_outputs(self.way)
        if self.engine == "grouped" and not self.model.stacks:
            raise UserError(
                "algo.engine=grouped: this model has no kernels of its own for many tasks; use vmap or auto"
            )
        if self.recompute and not self.can_recompute:
            reasons = {
                "is of first order, so that there is nothing to recompute": not self.second_order,
                "cannot recompute with algo.engine=higher": self.engine == "higher",
                "cannot recompute with norm=per_step, whose statistics of every step are kept": self.norm == "per_step",
                "runs the body once, so that there is nothing to recompute": True,
            }
            why = next(reason for reason, holds in reasons.items() if holds)
            raise UserError(f"algo.recompute=true: {type(self).__name__} {why}; leave it out")
        self.net = Functional(self.model, "vmap" if self.engine == "higher" else self.engine)
        self.inner = make_engine(self.engine, self.inner_optimizer)

    @property
    def notice(self) -> str | None:
        """A warning about this choice of settings, in one line; None where there is nothing to warn of."""
        if self.engine == "higher" and self.inner_optimizer["name"] == "Adam" and self.second_order:
            return ("algo.engine=higher: second derivatives of its Adam differ from torch's formula where inner "
                    "gradients are near 0 (up to 31.6 times smaller); algo.engine=auto follows torch")  # fmt: skip
        return None

    # -- the parts that differ between algorithms ------------------------------------------------------------

    def init(self) -> Meta:
        """The meta-parameters before any training."""
        meta = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        if self.norm == "per_step":
            for layer, channels in enumerate(self.model.norm_channels()):
                fresh = torch.stack([torch.zeros(channels), torch.ones(channels)])
                meta[f"{RUNNING}{layer}"] = fresh.repeat(self.inner_steps + 1, 1, 1)  # [S+1, 2, C]
        return meta

    def weights(self, meta: Meta) -> Weights:
        """The model's own parameters among the meta-parameters."""
        return trained(meta)

    def stepper(self, meta: Meta, names: Sequence[str]) -> Optimizer:
        """The inner optimizer of adapted weights with these names; it may depend on the meta-parameters."""
        assert isinstance(self.inner, Batched)
        return self.inner.optimizer

    def descend(self, meta: Meta, loss: Loss, start: Weights, second_order: bool) -> Iterator[Weights]:
        """Yield the weights after 0, 1, 2, ... inner steps; see metalearn.inner.unroll.Batched.descend."""
        inner = Batched(self.stepper(meta, list(start))) if isinstance(self.inner, Batched) else self.inner
        return inner.descend(loss, start, second_order)

    def adapts(self, name: str) -> bool:
        """Whether the inner loop adapts this parameter; the others are shared by all tasks."""
        return True

    def adapt(
        self, meta: Meta, support_x: Tensor, support_y: Tensor, training: bool = False, ids: Tensor | None = None
    ) -> Iterator[Adapted]:
        """Yield the model adapted by 0, 1, 2, ... gradient steps to each of T tasks, without end.

        Args:
            meta: meta-parameters.
            support_x: [T, N*K, ...]; support_y: [T, N*K] int64, or real [T, K, D].
            training: keep what a meta-gradient needs. Without it nothing depends on other tasks or on history.
            ids: in meta-training, the tasks' numbers, int64 [T], from which dropout draws its masks.
        """
        parameters = self.weights(meta)
        shared, start = self.divide(parameters, len(support_x))
        seen: list[list[Tensor]] = []

        def loss_of_all(fast: Weights) -> Tensor:
            present = self.support_pass(len(seen), training, ids)
            outputs, statistics = self.net.outputs(shared | fast, support_x, present, training and self.second_order)
            seen.append(statistics)
            return self.inner_loss(meta, outputs, support_y)

        def loss_of_head(fast: Weights) -> Tensor:
            return self.inner_loss(meta, linear(fast, features), support_y)

        if all(name.startswith("head.") for name in start):  # the body runs once, whatever the number of steps
            features, statistics = self.net.features(parameters, support_x, self.support_pass(0, training, ids))
            seen, loss = [statistics] * self.inner_steps, loss_of_head
        else:
            loss = loss_of_all
        for step, fast in enumerate(self.descend(meta, loss, start, training and self.second_order)):
            yield Adapted(shared | fast, support_x, step, ids, self.running(meta, step, training), tuple(seen))

    def divide(self, parameters: Weights, tasks: int) -> tuple[Weights, Weights]:
        """The weights that all tasks share, and those that the inner loop adapts, as views [T, ...]."""
        shared = {name: w for name, w in parameters.items() if not self.adapts(name)}
        return shared, self.net.expand({name: w for name, w in parameters.items() if self.adapts(name)}, tasks)

    def adapted(self, meta: Meta, support_x: Tensor, support_y: Tensor, ids: Tensor | None = None) -> Adapted:
        """The model after the inner loop of meta-training, with what a meta-gradient needs, or the means to find it."""
        if not self.recomputes:
            return nth(self.adapt(meta, support_x, support_y, training=True, ids=ids), self.inner_steps)
        shared, start = self.divide(self.weights(meta), len(support_x))

        def loss(step: int, meta: Meta, fast: Weights, twice: bool) -> Tensor:
            present = self.support_pass(step, True, ids)
            outputs, _ = self.net.outputs(self.weights(meta) | fast, support_x, present, twice)
            return self.inner_loss(meta, outputs, support_y)

        fast = recomputed(loss, lambda meta: self.stepper(meta, list(start)), start, trained(meta), self.inner_steps)
        return Adapted(shared | fast, support_x, self.inner_steps, ids)

    @property
    def recomputes(self) -> bool:
        """True if the inner loop's activations are computed again in the backward pass and not kept."""
        return self.can_recompute and (self.inner_steps > 10 if self.recompute is None else self.recompute)

    @property
    def can_recompute(self) -> bool:
        """Whether there is something to gain, and the inner loop leaves nothing behind but weights."""
        return self.second_order and self.engine != "higher" and self.norm != "per_step"

    def meta_sums(self, meta: Meta, batch: TaskBatch) -> MetaStep:
        """As `meta_gradient` for tasks that fit at once, each entry summed over them."""
        parameters = {n: p.detach().requires_grad_() for n, p in trained(meta).items()}
        adapted = self.adapted(meta | parameters, batch.support_x, batch.support_y, batch.ids)
        outputs, seen = self.query_outputs(adapted, batch.query_x, training=True)
        loss = self.task_loss(outputs, batch.query_y).sum()
        gradients = self.differentiate(loss, parameters, adapted.weights)
        return MetaStep(gradients, self.metrics(outputs, batch.query_y), self.statistics([*adapted.seen, seen]))

    def differentiate(self, loss: Tensor, parameters: Weights, adapted: Weights) -> Weights:
        """The gradient of the summed query loss, by name of the parameter.

        Args:
            parameters: the meta-parameters, from which the adapted weights [T, ...] were computed.
        """
        return dict(zip(parameters, gradients(loss, list(parameters.values())), strict=True))

    def draw(self, source: TaskSource, step: int, device: str) -> Any:
        """The meta-batch of a step: a pure function of the source's seed and the step."""
        ids = torch.arange(step * self.meta_batch, (step + 1) * self.meta_batch, device=device)
        return source.tasks(ids, self.way, self.shot, self.query)

    def check(self, source: TaskSource) -> None:
        """Raise UserError where the training source cannot deal what `draw` asks for."""
        source.check(self.way, self.shot, self.query)

    # -- the parts that all share ----------------------------------------------------------------------------

    def meta_gradient(self, meta: Meta, batch: TaskBatch) -> MetaStep:
        """The direction for the outer optimiser: means over the tasks of a meta-batch."""
        return self.means(meta, self.sums(meta, batch), len(batch.support_x))

    def sums(self, meta: Meta, batch: TaskBatch) -> MetaStep:
        """As `meta_sums` for any number of tasks, in pieces; in smaller ones where a GPU's memory does not suffice."""
        while True:
            size, sums = self.tasks_at_once(batch.support_x, batch.query_x), None
            try:
                for piece in batch.split(size):
                    part = self.meta_sums(meta, piece)
                    sums = part if sums is None else MetaStep(*map(_add, sums, part))
                assert sums is not None
                return sums
            except torch.OutOfMemoryError:
                sums = part = None  # what was computed so far is let go
            self.halve(min(size, len(batch.support_x)))

    def means(self, meta: Meta, sums: MetaStep, tasks: int) -> MetaStep:
        """Divide sums over tasks by their number, and move the running statistics."""
        gradients, metrics, averages = ({n: v / tasks for n, v in entry.items()} for entry in sums)
        averages = {n: torch.lerp(meta[n], new, MOMENTUM) for n, new in averages.items()}
        return MetaStep(gradients, metrics, averages)

    def halve(self, size: int) -> None:
        """Handle half as many tasks at once from now on, after `size` were too many for the memory of the device.

        Raises:
            UserError: one task alone is too much.
        """
        if size == 1:
            raise UserError("one task alone is too large for this GPU's memory: lower query= or model.filters=, "
                            "set algo.recompute=true, or device=cpu")  # fmt: skip
        self.chunk = size // 2
        warn(f"out of memory with {size} tasks at once; from now on {self.chunk}")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def predict(self, adapted: Adapted, query_x: Tensor, norm: NormMode | None = None) -> Tensor:
        """Outputs [T, B, way] for query_x [T, B, ...]: class scores, or regression values [T, B, D].

        Args:
            norm: another batch-norm mode than that of training.
        """
        return self.query_outputs(adapted, query_x, training=False, norm=norm)[0]

    def query_outputs(
        self, adapted: Adapted, query_x: Tensor, training: bool, norm: NormMode | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """As `predict`, and in training with `per_step` the pass's batch statistics."""
        present = self.query_pass(adapted.running, training, adapted.ids)
        if (norm or self.norm) == "support":
            shots = adapted.support_x.shape[1]
            both = torch.cat([adapted.support_x, query_x], dim=1)
            present = replace(present, reference=shots, running=None, collect=False)
            outputs, seen = self.net.outputs(adapted.weights, both, present, twice=False)
            return outputs[:, shots:], seen
        return self.net.outputs(adapted.weights, query_x, present, twice=False)

    def kind_of_layer(self, layer: str) -> str:
        """Name the kind of a layer: `norm` (gamma and beta), `rate` (learned inner rates) or `weights`."""
        norms = {name.rpartition(".")[0] for name in self.model.norm_parameters()}
        return "rate" if layer.startswith(RATE) else "norm" if layer in norms else "weights"

    @property
    def norm_mode(self) -> str:
        """How batch norm gets its statistics; `none` for a model without."""
        return self.norm if self.model.norm_channels() else "none"

    def support_pass(self, step: int, training: bool, ids: Tensor | None) -> Pass:
        """A pass over support images at an inner step, normalized by their batch statistics in every mode."""
        return self._pass(step, None, training, ids)

    def query_pass(self, running: list[Tensor] | None, training: bool, ids: Tensor | None = None) -> Pass:
        """A pass over query images that are normalized together, or by running statistics."""
        return self._pass(QUERY, running, training, ids)

    def _pass(self, number: int, running: list[Tensor] | None, training: bool, ids: Tensor | None) -> Pass:
        masks = Masks(self.seed, number, ids) if training and ids is not None else None
        return Pass(running=running, collect=training and self.norm == "per_step", training=training, masks=masks)

    def running(self, meta: Meta, step: int, training: bool) -> list[Tensor] | None:
        """The running statistics of an inner step (the last one's beyond it); None where batch statistics serve."""
        if self.norm != "per_step" or training:
            return None
        return [v[min(step, len(v) - 1)] for n, v in meta.items() if n.startswith(RUNNING)]

    def statistics(self, seen: list[list[Tensor]]) -> Meta:
        """Batch statistics of all passes of an inner loop as entries of Meta, summed over tasks: [S+1, 2, C]."""
        if seen and seen[0] and (found := [s.shape[-1] for s in seen[0]]) != self.model.norm_channels():
            own = self.model.norm_channels()
            raise UserError(f"norm=per_step: batch norm layers of {found} channels are called, the model has layers "
                            f"of {own}: call each once, in the order in which they are made")  # fmt: skip
        layers = zip(*seen, strict=True)
        return {f"{RUNNING}{i}": torch.stack([s.sum(0) for s in passes]) for i, passes in enumerate(layers)}

    def inner_loss(self, meta: Meta, outputs: Tensor, y: Tensor) -> Tensor:
        """The support loss of each task, reduced as `reduction` says.

        Args:
            meta: the meta-parameters, for a loss that is learned; the meta-gradient reaches every entry used here.
            outputs: [T, N*K, way], or [T, K, D] in regression.
            y: [T, N*K] int64, or [T, K, D].

        Returns:
            [T].
        """
        factor = {"mean": 1, "sum": y.shape[1], "shot_mean": 1 if self.regression else outputs.shape[-1]}
        return self.task_loss(outputs, y) * factor[self.reduction]

    def require_outputs(self, way: int) -> None:
        """Raise UserError where the head has fewer outputs than a task has classes."""
        if way > (outputs := self.model.head.out_features):
            raise UserError(f"way={way}: the model's head has {outputs} outputs")

    def task_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean loss of each task [T]: cross-entropy in nats, or mean squared error."""
        if self.regression:
            return (outputs - y).square().flatten(1).mean(1)
        try:
            each = F.cross_entropy(outputs.flatten(0, 1), y.flatten(), reduction="none")
        except IndexError as error:  # on the CPU
            raise UserError(
                f"labels of {int(y.min())} to {int(y.max())}, and the model's head has {outputs.shape[-1]} outputs"
            ) from error
        return each.view(y.shape).mean(1)

    def scores(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The reported score of each task [T]: mean squared error, or accuracy, 0 where an output is not finite."""
        if self.regression:
            return self.task_loss(outputs, y)
        return (outputs.argmax(-1) == y).float().mean(1) * outputs.flatten(1).isfinite().all(1)

    def metrics(self, outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Query loss and score, summed over tasks."""
        with torch.no_grad():
            name = "mse" if self.regression else "accuracy"
            return {"loss": self.task_loss(outputs, y).sum(), name: self.scores(outputs, y).sum()}

    def tasks_at_once(self, support_x: Tensor, query_x: Tensor) -> int:
        """How many tasks to handle at once, by their input values: a rule, so that the same run gives the same bits.

        On the CPU, activations should stay near the cache. Measured with Conv4 on 2 cores: the engine
        `grouped` is fastest with 16 to 32 tasks of 10 to 80 images, `vmap` with 32 of 10, 8 of 30, 4 of 80.
        """
        if self.inner.tasks_at_once:
            return self.inner.tasks_at_once
        values = support_x[0].numel() + query_x[0].numel()
        device = support_x.device.type
        room = 2**26 if device != "cpu" else 2**20 if self.net.grouped(device) else 250_000
        return self.chunk or max(1, room // values)


def trained(meta: Meta) -> Weights:
    """The entries of Meta that the outer optimiser changes."""
    return {name: value for name, value in meta.items() if not name.startswith(RUNNING)}


def nth(items: Iterator[Item], n: int) -> Item:
    """Item number n of an iterator."""
    return next(islice(items, n, None))


def _add(a: dict[str, Tensor], b: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: a[name] + b[name] for name in a}
