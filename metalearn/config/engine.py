"""Settings of execution: how a meta-gradient is computed, not what it is."""

from dataclasses import dataclass
from typing import Literal

from metalearn.config.checks import at_least
from metalearn.runtime.device import Precision
from metalearn.runtime.errors import UserError

Kernel = Literal["auto", "grouped", "vmap"]
InnerLoop = Literal["unrolled", "higher"]


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Settings of the computation of meta-gradients. Values are in conf/engine/.

    Args:
        kernel: the way in which tasks go through the model together: `grouped`, by metalearn.kernels; `vmap`, its
            forward pass under torch.func.vmap; `auto` chooses by device and precision (metalearn.models.functional).
        fused: `grouped` may compute a chain of convolution, batch norm, activation and pooling as one function;
            false: layer by layer.
        inner_loop: `unrolled` steps all tasks at once; `higher` steps one task at a time with an optimizer of
            torch.optim.
        chunk: the number of tasks computed at once; null chooses it by their size and, on the CPU, by that
            of the model.
        recompute: compute the inner steps again in the backward pass of a second-order meta-gradient and keep few of
            them, so that memory hardly grows with their number; null: above 10 steps.
        precision: of products, see metalearn.runtime.device.
        cuda_graph: on CUDA, capture the meta-gradient as one graph.
    """

    kernel: Kernel = "auto"
    fused: bool = True
    inner_loop: InnerLoop = "unrolled"
    chunk: int | None = None
    recompute: bool | None = None
    precision: Precision = "float32"
    cuda_graph: bool = False

    def __post_init__(self) -> None:
        at_least(1, chunk=self.chunk)

    def check(self, device: str, processes: int) -> None:
        """Raise UserError for settings that this device or number of processes does not allow."""
        if self.precision == "tf32" and device == "cpu":
            raise UserError("engine.precision=tf32: needs a CUDA device; on the CPU use float32 or bf16")
        if self.precision == "bf16" and self.kernel == "grouped":
            raise UserError("engine.precision=bf16: does not work with engine.kernel=grouped; use auto or vmap")
        if self.cuda_graph and (device == "cpu" or processes > 1):
            raise UserError("engine.cuda_graph=true: needs a CUDA device and a single process")
