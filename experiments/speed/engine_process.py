"""One engine in a process of its own, where its memory can be told from that of the others."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import peers
import torch
from clock import highest, seconds, turn
from networks import NETWORKS, with_batch_statistics
from peer_task import How, PeerTask

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.objective import Classification
from metalearn.config.engine import EngineSettings
from metalearn.config.instantiate import build
from metalearn.data.base import TaskBatch
from metalearn.models.head import find_head
from metalearn.runtime.device import keep_freed_memory, precision_context
from metalearn.training.executor import Executor

OURS, PEERS = ("grouped", "vmap"), ("higher", "loop")
LR = {"maml": 0.4, "fomaml": 0.03, "anil": 0.4, "reptile": 0.1}
DATA = {"split": "random", "split_seed": 0, "rotate_train": True, "rotate_test": True}


@dataclass(frozen=True)
class Setting:
    """A network, a meta-batch and an inner loop."""

    way: int
    shot: int
    query: int
    steps: int
    meta_batch: int
    recompute: bool | None = None
    network: str = "conv4"

    def __str__(self) -> str:
        kept = {None: "", True: ", recomputed", False: ", kept"}[self.recompute]
        return (
            f"{self.way}-way {self.shot}-shot, {self.query} quer{'y' if self.query == 1 else 'ies'}, "
            f"{self.steps} step{'s' * (self.steps > 1)}{kept}, {self.meta_batch} tasks"
        )


def tasks_of(setting: Setting, device: str) -> TaskBatch:
    """The same real tasks in every process: Omniglot where METALEARN_DATA has it, else glyphs."""
    from metalearn.data import glyphs, omniglot
    from metalearn.runtime.errors import UserError

    try:
        root = os.environ.get("METALEARN_DATA", "data")
        data = omniglot.load(root=root, within_alphabet=False, download=False, **DATA)
    except UserError:
        data = glyphs.load(classes=[200, 50, 50], split_seed=0, rotate_train=True, rotate_test=True)
    ids = torch.arange(setting.meta_batch, device=device)
    batch = data.source("train", 0, device).tasks(ids, setting.way, setting.shot, setting.query)
    images = NETWORKS[setting.network].images
    return batch._replace(support_x=images(batch.support_x), query_x=images(batch.query_x))


def peer_task_of(algo: str, setting: Setting) -> PeerTask:
    """The same tasks and weights for a peer that cannot import this project."""
    batch = tasks_of(setting, "cpu")
    weights = dict(NETWORKS[setting.network].build(setting.way).named_parameters())
    names = ("support_x", "support_y", "query_x", "query_y")
    return PeerTask(
        How(algo, setting.steps, LR[algo]),
        {name: value.detach().numpy() for name, value in weights.items()},
        {name: getattr(batch, name).numpy() for name in names},
    )


def algorithm_of(algo: str, setting: Setting, engine: str) -> Any:
    """An algorithm of this project."""
    names = {"maml": "maml.MAML", "fomaml": "fomaml.FOMAML", "anil": "anil.ANIL", "reptile": "reptile.Reptile"}
    own: dict[str, Any] = {
        "maml": {"adapt_norm": True},
        "fomaml": {"adapt_norm": True},
        "reptile": {"train_shot": setting.shot, "inner_batch": 10**6, "inner_batch_test": 10**6},
    }.get(algo, {})
    node = {
        "_target_": f"metalearn.algorithms.{names[algo]}",
        "meta_batch": setting.meta_batch,
        "inner_steps": setting.steps,
        "inner_steps_test": setting.steps,
        "inner_optimizer": {"name": "SGD", "lr": LR[algo]},
        "reduction": "mean",
    }
    execution = EngineSettings(kernel=engine, recompute=setting.recompute if algo == "maml" else None)
    given = {
        "way": setting.way,
        "shot": setting.shot,
        "query": setting.query,
        "norm": "transductive",
        "labels": None,
        "objective": Classification(),
        "engine": execution,
    }
    model = NETWORKS[setting.network].build(setting.way)
    return build({**node, **own}, "algo", Algorithm, model=model, **given)


def gradient_of(
    algo: str, setting: Setting, engine: str, device: str, dtype: torch.dtype
) -> Callable[[TaskBatch], Any]:
    """A function from a meta-batch to the meta-gradient by name; every engine starts from the same weights."""
    if engine in OURS:
        algorithm = algorithm_of(algo, setting, engine)
        params = algorithm.init().map(lambda value: value.to(device, dtype))
        executor = Executor(algorithm, device)
        return lambda batch: executor(params, batch).gradients
    model = with_batch_statistics(NETWORKS[setting.network].build(setting.way)).to(device, dtype)
    head = find_head(model).module
    net = peers.Net(model, head)
    function = {"higher": peers.with_higher, "loop": peers.loop, "ordinary": peers.ordinary}[engine.partition(",")[0]]
    return lambda batch: net.as_named(function(algo, net, batch, setting.steps, LR[algo]), head)


def work(pipe: Connection, algo: str, setting: Setting, engine: str, device: str) -> None:
    """Answer on request: `check`, the gradient of two tasks in double precision; `step`, seconds; `memory`; `flops`."""
    batch = tasks_of(setting, device)
    step = gradient_of(algo, setting, engine, device, torch.float32)
    before = highest(reset=True)
    if engine in OURS or engine.endswith("our allocator"):
        keep_freed_memory()  # part of this project; the peers have the allocator as it comes, and once more with ours
    with precision_context("float32", device):
        while (asked := pipe.recv()) != "end":
            if asked == "check":
                few = TaskBatch(*(field[:2] if field.dtype == torch.int64 else field[:2].double() for field in batch))
                exact = gradient_of(algo, setting, engine, device, torch.float64)(few)
                pipe.send({name: value.cpu().numpy() for name, value in exact.items()})
            elif asked == "step":
                pipe.send(turn(_waited(lambda: step(batch), device)))
            elif asked == "memory":
                pipe.send(_peak(before, device))
            elif asked == "flops":
                from torch.utils.flop_counter import FlopCounterMode

                one = TaskBatch(*(field[:1] for field in batch))
                with FlopCounterMode(display=False) as counter:
                    step(one)
                pipe.send(counter.get_total_flops() * setting.meta_batch)


def _waited(step: Callable[[], Any], device: str) -> Callable[[], Any]:
    """A step that is over when it returns."""

    def waited() -> None:
        step()
        if device != "cpu":
            torch.cuda.synchronize()

    return waited


def _peak(before: float, device: str) -> float:
    """The most memory in MB, beyond what the process had before its first step."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    return highest() - before


def matmul_rate(device: str, size: int = 2048) -> float:
    """FLOP/s of a product of square float32 matrices: the best of 20."""
    a = torch.rand(size, size, device=device)
    with precision_context("float32", device):
        return 2 * size**3 / min(seconds(_waited(lambda: a @ a, device)) for _ in range(20))
