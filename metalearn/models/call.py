"""Call a module with other tensors as its parameters and buffers."""

from collections.abc import Mapping

from torch import Tensor, nn


class Call:
    """Calls a module as torch.func.functional_call does, with less overhead.

    Args:
        module: its parameters and buffers are looked up once.
    """

    def __init__(self, module: nn.Module):
        self.module = module
        self._places: dict[str, list[tuple[dict[str, Tensor | None], str]]] = {}
        names: dict[int, str] = {}  # of the first name of a tensor, which may have several
        for prefix, part in module.named_modules(remove_duplicate=False):
            for own in (part._parameters, part._buffers):
                for name, value in own.items():
                    if value is not None:
                        full = names.setdefault(id(value), f"{prefix}.{name}".removeprefix("."))
                        self._places.setdefault(full, []).append((own, name))

    def __call__(self, tensors: Mapping[str, Tensor], *inputs: Tensor) -> Tensor:
        """Call the module.

        Args:
            tensors: by the name of a parameter or buffer; one that has two names is given by its first.
        """
        kept: list[tuple[dict[str, Tensor | None], str, Tensor | None]] = []
        try:
            for name, value in tensors.items():
                for own, last in self._places[name]:
                    kept.append((own, last, own[last]))
                    own[last] = value
            result: Tensor = self.module(*inputs)
            return result
        finally:
            for own, last, before in reversed(kept):
                own[last] = before
