"""Scores of a learner with frozen layers, which the inner loop does not change.

Raghu, Raghu, Bengio & Vinyals, "Rapid learning or feature reuse?", ICLR 2020 (arxiv.org/abs/1909.09157), section 3,
table 1.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.parameters import MetaParameters
from metalearn.data.base import TaskSource
from metalearn.models.layers import Layer
from metalearn.runtime.errors import UserError
from metalearn.training.chunks import Chunks
from metalearn.training.evaluate import Score, evaluate
from metalearn.training.layers import layer_parts


@dataclass(frozen=True)
class Freezing:
    """The inner loops of a learner to compare, each known by the parameters that it adapts.

    Different choices of frozen layers may leave the same parameters to adapt, as in ANIL, and are then one inner loop.

    Args:
        algorithm: of the learner, with its steps at evaluation.
        without_steps: the same algorithm with 0 steps, for an inner loop that has nothing to adapt.
        layers: of its model, in the order of a forward pass.
    """

    algorithm: Algorithm
    without_steps: Algorithm
    layers: Sequence[Layer]

    @property
    def adapted(self) -> frozenset[str]:
        """The parameters that are adapted with no layer frozen."""
        names = [name for name, _ in self.algorithm.model.named_parameters()]
        return frozenset(name for name in names if self.algorithm.is_adapted(name))

    def without_first(self, count: int) -> frozenset[str]:
        """The parameters that are adapted with the first layers frozen."""
        return self.adapted.difference(*(layer.parameters for layer in self.layers[:count]))

    def without_layer(self, number: int) -> frozenset[str]:
        """The parameters that are adapted with one layer frozen."""
        return self.adapted.difference(self.layers[number].parameters)

    def inner_loops(self) -> list[frozenset[str]]:
        """List the parameters that each inner loop adapts: no layer frozen, the first ones, and each alone."""
        count = len(self.layers)
        first = [self.without_first(number) for number in range(count + 1)]
        return list(dict.fromkeys([*first, *map(self.without_layer, range(count))]))

    def check(self) -> None:
        """Raise UserError where there is nothing to freeze."""
        name = type(self.algorithm).__name__
        if not self.algorithm.has_inner_loop:
            raise UserError(f"{name} has no inner loop whose layers could be frozen: choose a run of maml or the like")
        if not self.adapted:
            raise UserError(f"the inner loop of {name} adapts no parameter: there is nothing to freeze")
        if self.algorithm.inner_steps_test == 0:
            raise UserError(
                "inner_steps=0: nothing is adapted, so that nothing can be frozen; set inner_steps=1 or more"
            )

    def scores(
        self,
        params: MetaParameters,
        source: TaskSource,
        *,
        tasks: int,
        way: int,
        shot: int,
        query: int,
        device: str,
        chunks: Chunks,
        watch: Callable[[int], None] = lambda done: None,
    ) -> dict[frozenset[str], Score]:
        """Score each inner loop on the same tasks.

        Args:
            chunks: chooses how many tasks are adapted at once.
            watch: called with the number of tasks done, of all inner loops together; what it raises ends the work.

        Returns:
            The score by the parameters that are adapted.

        Raises:
            UserError: frozen parameters were changed: `adapt` of a user-defined algorithm ignores the frozen layers.
        """

        def report(earlier: int, done: int) -> None:
            watch(earlier * tasks + done)

        found: dict[frozenset[str], Score] = {}
        for earlier, own in enumerate(self.inner_loops()):
            frozen = self.adapted - own
            found[own] = evaluate(
                self.algorithm.with_frozen(frozen) if own else self.without_steps,
                params,
                source,
                tasks=tasks,
                way=way,
                shot=shot,
                query=query,
                device=device,
                chunks=chunks,
                watch=partial(report, earlier),
            )
            if name := next(self._changed(params, found[own], frozen), None):
                raise UserError(
                    f"{type(self.algorithm).__name__}: its adapt changes {name}, which is frozen: let it begin with "
                    "self.split_weights, as that of MAML does"
                )
        return found

    def _changed(self, params: MetaParameters, score: Score, frozen: frozenset[str]) -> Iterator[str]:
        """The frozen parameters of layers that the inner loop has changed."""
        parts = layer_parts(self.algorithm, params)
        return (name for name in sorted(frozen) if score.changes.get(parts[name].name, 0.0) > 0)
