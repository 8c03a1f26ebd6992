"""MAML and ANIL with torchopt, as its example examples/few-shot/maml_omniglot.py does it.

MetaSGD steps the module's weights, with their graph; `extract_state_dict` and `recover_state_dict` put a task's start
back; the mean of the query losses of all tasks has one backward pass.
"""

import torch
import torch.nn.functional as F
import torchopt
from peer_conv4 import as_tensors, parts, plain_norm
from peer_process import Step, serve
from peer_task import Array, PeerTask


def build(task: PeerTask, double: bool) -> tuple[Step, Step]:
    """Build the step; nothing is compiled."""
    body, head = parts(as_tensors(task.weights), plain_norm)
    net = torch.nn.Sequential(body, head)
    anil = task.how.algo == "anil"
    adapted = head if anil else net
    batch = as_tensors(task.batch)
    parameters = {name.partition(".")[2]: value for name, value in net[:1].named_parameters()}
    parameters |= {f"head.{name}": value for name, value in head.named_parameters()}
    inner = torchopt.MetaSGD(adapted, lr=task.how.lr)

    def step() -> dict[str, Array]:
        for value in parameters.values():
            value.grad = None
        start = torchopt.extract_state_dict(adapted, by="reference", detach_buffers=True)
        state = torchopt.extract_state_dict(inner, by="reference")
        losses = []
        for sx, sy, qx, qy in zip(*(batch[n] for n in ("support_x", "support_y", "query_x", "query_y")), strict=True):
            if anil:
                sx, qx = body(sx), body(qx)
            for _ in range(task.how.steps):
                inner.step(F.cross_entropy(adapted(sx), sy))
            losses.append(F.cross_entropy(adapted(qx), qy))
            torchopt.recover_state_dict(adapted, start)
            torchopt.recover_state_dict(inner, state)
        torch.stack(losses).mean().backward()
        return {name: value.grad.numpy() for name, value in parameters.items()}

    return step, dict


if __name__ == "__main__":
    serve(build)
