"""Limits on the memory and time that a checkpoint may take, by the size of its file.

A malicious file of a few kilobytes can claim a tensor of 40 GB (stride 0), a list that contains itself, or zeros
compressed a thousandfold. The content of a checkpoint of metalearn is never larger than its file.
"""

import io
import pickletools
import zipfile
from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor

DEPTH = 32  # of nested containers
COPIES = 8  # times that tensors may share the same bytes: the best learner may also be the last
_NAMES = {"torch._utils _rebuild_tensor_v2", "collections OrderedDict"} | {
    f"torch {kind}Storage"
    for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool", "Untyped")
}


def check_archive(data: bytes) -> None:
    """Check a file before torch reads it: an uncompressed archive whose pickle builds only tensors and containers.

    Args:
        data: the content of the file.

    Raises:
        ValueError: an archive of another kind.
        zipfile.BadZipFile: not an archive.
    """
    if not data.startswith(b"PK\x03\x04"):
        raise ValueError("not an archive")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if len({entry.filename for entry in entries}) != len(entries):
            raise ValueError("two entries of one name")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("compressed entries")
        if sum(entry.file_size for entry in entries) > len(data):
            raise ValueError("entries that overlap")
        pickles = [entry for entry in entries if entry.filename.endswith(".pkl")]
        if len(pickles) != 1:
            raise ValueError("not one pickle")
        for operation, argument, _ in pickletools.genops(archive.read(pickles[0])):
            if operation.name in ("GLOBAL", "INST", "STACK_GLOBAL") and argument not in _NAMES:
                raise ValueError(f"{argument} is not part of a checkpoint")


def check_content(content: Any, size: int) -> None:
    """Check the content of a checkpoint after torch has read it.

    Args:
        content: tensors and plain values in dictionaries and lists.
        size: of the file, in bytes.

    Raises:
        ValueError: a tensor larger than its storage, other types, more values than bytes, or nesting too deep.
    """
    values = total = 0
    waiting: list[Iterator[Any]] = [iter([content])]
    while waiting:
        value = next(waiting[-1], waiting)
        if value is waiting:
            waiting.pop()
            continue
        values += 1
        if values > size:
            raise ValueError("more values than bytes in the file")
        if isinstance(value, Tensor):
            total += _bytes(value, size)
            if total > COPIES * size:
                raise ValueError("more tensors than bytes in the file")
        elif isinstance(value, (dict, list, tuple)):
            if len(waiting) >= DEPTH:
                raise ValueError("nested too deeply")
            waiting.append(chain.from_iterable(value.items()) if isinstance(value, dict) else iter(value))
        elif isinstance(value, int):
            if value.bit_length() > 64:
                raise ValueError("a number of more than 64 bits")
        elif not isinstance(value, (float, str, bytes, type(None))):
            raise ValueError(f"a {type(value).__name__} is not part of a checkpoint")


def _bytes(tensor: Tensor, size: int) -> int:
    """Size in bytes of a dense tensor, after checking that its storage is in the file."""
    if type(tensor) is not Tensor or tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        raise ValueError("an unusual tensor")
    needed = tensor.numel() * tensor.element_size()
    if needed > tensor.untyped_storage().nbytes() or needed > size:
        raise ValueError("a tensor larger than its storage")
    return needed
