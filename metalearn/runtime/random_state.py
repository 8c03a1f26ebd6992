"""The state of torch's global random generators, which code outside this package may draw from."""

from collections.abc import Mapping

import torch
from torch import Tensor


def random_state(device: str) -> dict[str, Tensor]:
    """Return the state of the generators of the CPU and of a device."""
    state = {"cpu": torch.get_rng_state()}
    return state | ({} if device == "cpu" else {"cuda": torch.cuda.get_rng_state(device)})


def set_random_state(state: Mapping[str, Tensor], device: str) -> None:
    """Restore what `random_state` returned."""
    torch.set_rng_state(state["cpu"])
    if device != "cpu" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
