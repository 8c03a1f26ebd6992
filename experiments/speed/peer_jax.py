"""MAML and ANIL in JAX: `jit` of the gradient of `vmap` over tasks, compiled before the first step."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from peer_process import Step, serve
from peer_task import Array, PeerTask

Weights = dict[str, jax.Array]


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolve images [B, H, W, C] by a kernel [3, 3, C, F] with stride 2 and padding 1, as a product with patches.

    Under `vmap` on the CPU, this took about 1/15 of the time of `lax.conv_general_dilated`, which becomes a convolution
    in groups (JAX 0.10.2, the first row of the table).
    """
    height, width = ((size + 1) // 2 for size in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifts = [(i, j) for i in range(3) for j in range(3)]
    patches = [x[:, i : i + 2 * height - 1 : 2, j : j + 2 * width - 1 : 2] for i, j in shifts]
    return jnp.concatenate(patches, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


def body(weights: Weights, x: jax.Array) -> jax.Array:
    """Images [B, H, W, C] to features [B, F]: Conv4's blocks, batch norm by the statistics of the batch."""
    for block in range(4):
        x = convolve(x, weights[f"convs.{block}.weight"])
        x = (x - x.mean((0, 1, 2))) * jax.lax.rsqrt(x.var((0, 1, 2)) + 1e-5)
        x = jax.nn.relu(x * weights[f"norms.{block}.weight"] + weights[f"norms.{block}.bias"])
    return x.transpose(0, 3, 1, 2).reshape(len(x), -1)  # in torch's order, as the head's weights are


def loss_of(weights: Weights, features: jax.Array, y: jax.Array) -> jax.Array:
    """Cross entropy of the head's scores."""
    scores = features @ weights["head.weight"].T + weights["head.bias"]
    return -jnp.take_along_axis(jax.nn.log_softmax(scores), y[:, None], 1).mean()


def task_loss(
    weights: Weights, sx: jax.Array, sy: jax.Array, qx: jax.Array, qy: jax.Array, algo: str, steps: int, lr: float
) -> jax.Array:
    """Query loss of one task after its inner steps."""
    adapted = {name: value for name, value in weights.items() if algo == "maml" or name.startswith("head.")}
    fixed = {name: value for name, value in weights.items() if name not in adapted}
    support = None if adapted.keys() == weights.keys() else body(weights, sx)

    def inner(fast: Weights) -> jax.Array:
        now = fixed | fast
        return loss_of(now, body(now, sx) if support is None else support, sy)

    for _ in range(steps):
        adapted = jax.tree.map(lambda w, g: w - lr * g, adapted, jax.grad(inner)(adapted))
    now = fixed | adapted
    return loss_of(now, body(now, qx), qy)


def build(task: PeerTask, double: bool) -> tuple[Step, Step]:
    """Build the step and its compilation."""
    jax.config.update("jax_enable_x64", double)
    how = task.how
    moved = lambda name, axes: jnp.asarray(np.ascontiguousarray(task.batch[name].transpose(axes)))
    images = (0, 1, 3, 4, 2)
    batch = (
        moved("support_x", images), moved("support_y", (0, 1)), moved("query_x", images), moved("query_y", (0, 1)),
    )  # fmt: skip
    weights = {n: jnp.asarray(w.transpose(2, 3, 1, 0) if w.ndim == 4 else w) for n, w in task.weights.items()}

    def mean_loss(weights: Weights, *batch: jax.Array) -> jax.Array:
        one = lambda *task: task_loss(weights, *task, how.algo, how.steps, how.lr)
        return jax.vmap(one)(*batch).mean()

    made: dict[str, Any] = {}

    def compiled() -> dict[str, Array]:
        made["step"] = jax.jit(jax.grad(mean_loss)).lower(weights, *batch).compile()
        return {}

    def step() -> dict[str, Array]:
        gradients = jax.block_until_ready(made["step"](weights, *batch))
        return {n: np.asarray(g).transpose(3, 2, 0, 1) if g.ndim == 4 else np.asarray(g) for n, g in gradients.items()}

    return step, compiled


if __name__ == "__main__":
    serve(build)
