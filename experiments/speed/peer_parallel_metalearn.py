"""MAML and ANIL with parallel-metalearn, whose package has this project's name: as its README does it.

Its MAML with the backend vmap, its own batch norm, InnerSGD with a fixed rate. The outer optimizer has a rate of zero.
"""

import torch
from metalearn.inner_optimizers import InnerSGD
from metalearn.loss import CategoricalAccuracy, CrossEntropy
from metalearn.model_wrappers import MAML_Model
from metalearn.nn_models.basic_layers.BatchNormalization import BatchNorm
from peer_conv4 import as_tensors, parts
from peer_process import Step, serve
from peer_task import Array, PeerTask

from metalearn.algorithms import MAML


def build(task: PeerTask, double: bool) -> tuple[Step, Step]:
    """Build the step; nothing is compiled."""
    torch.set_default_dtype(torch.float64 if double else torch.float32)
    body, head = parts(as_tensors(task.weights), lambda channels: BatchNorm(channels, track_running_stats=False))
    model = MAML_Model(body, head, fast_weights_names="ANIL" if task.how.algo == "anil" else None)
    algorithm = MAML(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.0),
        inner_optimizer=InnerSGD(
            model.get_fast_weights(), inner_lr=task.how.lr, max_inner_steps=task.how.steps, learn_lr=False
        ),
        support_loss_fn=CrossEntropy(CategoricalAccuracy()),
        inner_steps=task.how.steps,
        backend="vmap",
        device=torch.device("cpu"),
    )
    batch = as_tensors(task.batch)
    labels = lambda name: {"labels": batch[name]}
    tasks = (batch["support_x"], labels("support_y"), batch["query_x"], labels("query_y"))

    def step() -> dict[str, Array]:
        algorithm.step(iter([tasks]))
        return {n.removeprefix("backbone."): value.grad.numpy() for n, value in model.named_parameters()}

    return step, dict


if __name__ == "__main__":
    serve(build)
