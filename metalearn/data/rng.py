"""Random numbers as a pure function of (seed, task, position): no generator, no hidden state.

The output function of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014) is applied to a counter, in 64-bit integer tensor
arithmetic. The numbers are the same on every device, for every batch size and in every torch release. Therefore a run
can be resumed, split over machines, or compared with another algorithm on exactly the same tasks.
"""

import hashlib

import torch
from torch import Tensor


def _signed(value: int) -> int:
    """Convert a 64-bit pattern to the signed integer that torch stores."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


_GAMMA = _signed(0x9E3779B97F4A7C15)
_MIX1 = _signed(0xBF58476D1CE4E5B9)
_MIX2 = _signed(0x94D049BB133111EB)


def _shift(x: Tensor, bits: int) -> Tensor:
    mask: int = 2 ** (64 - bits) - 1
    return (x >> bits) & mask  # torch shifts the sign in; mask it out


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _MIX1
    x = (x ^ _shift(x, 27)) * _MIX2
    return x ^ _shift(x, 31)


def stream(*parts: object) -> int:
    """Return the 64-bit id of a stream of random numbers, such as `stream(seed, "train", "rotation")`."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return _signed(int.from_bytes(digest[:8], "big"))


def bits(stream_id: int, ids: Tensor, *shape: int) -> Tensor:
    """Draw random int64 [T, *shape]. Row t depends only on `stream_id` and `ids[t]` (int64 [T])."""
    start = _mix(ids * _GAMMA + stream_id)
    count = 1
    for size in shape:
        count *= size
    positions = torch.arange(1, count + 1, device=ids.device, dtype=torch.int64) * _GAMMA
    return _mix(start[:, None] + positions).view(len(ids), *shape)


def uniform(stream_id: int, ids: Tensor, *shape: int) -> Tensor:
    """Draw random float32 [T, *shape] in [0, 1). Row t depends only on `stream_id` and `ids[t]` (int64 [T])."""
    return _shift(bits(stream_id, ids, *shape), 40).to(torch.float32) * 2.0**-24
