"""Device, numerical precision and memory allocation."""

import ctypes
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from metalearn.runtime.errors import UserError


def resolve_device(device: str) -> str:
    """Return the device that `auto`, `cpu`, `cuda` or `cuda:N` means on this machine.

    Raises:
        UserError: this machine has no such device.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return "cpu"
    if not re.fullmatch(r"cuda(:\d+)?", device):
        raise UserError(f"device={device}: must be auto, cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        raise UserError(f"device={device}: no CUDA device here; use device=cpu or device=auto")
    if ":" in device and int(device.split(":")[1]) >= torch.cuda.device_count():
        raise UserError(f"device={device}: only {torch.cuda.device_count()} CUDA device(s) here")
    return device


Precision = Literal["float32", "tf32", "bf16"]


@contextmanager
def precision_context(precision: Precision, device: str) -> Iterator[None]:
    """Set the precision of matrix products and convolutions within a `with` block.

    Weights, sums over tasks and the outer step stay in single precision.

    Args:
        precision: `float32`; `tf32` (10-bit mantissas, on CUDA); or `bf16` (convolutions and linear layers in bfloat16,
            by autocast).
        device: `cpu`, `cuda` or `cuda:N`.
    """
    if device != "cpu":  # PyTorch's default is TF32 in convolutions
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    with torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=precision == "bf16"):
        yield


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for reuse, instead of returning it to the system at every large `free`.

    A meta-step frees and allocates hundreds of megabytes. In large chunks the page faults cost more time than the
    computation. Without glibc this function does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)
    except (OSError, AttributeError):  # another C library: only slower
        pass
