"""Division of classes into training, validation and test; no class is ever in two of them."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

from metalearn.errors import UserError

Name = TypeVar("Name", bound=str)


def shuffled(names: Iterable[str], seed: int) -> list[str]:
    """The names in an order fixed by the seed: sorted by SHA-256 of "seed:name".

    It depends neither on the order given nor on any library's random number generator.
    """
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())


def by_count(names: Sequence[str], counts: tuple[int, int, int], seed: int) -> dict[str, list[str]]:
    """The first, second and third `counts` of the shuffled names as train, validation and test."""
    if sum(counts) > len(names):
        raise UserError(
            f"a split into {' + '.join(map(str, counts))} classes needs more than the {len(names)} there are"
        )
    order, (train, validation, test) = shuffled(names, seed), counts
    return {
        "train": order[:train],
        "validation": order[train : train + validation],
        "test": order[train + validation : train + validation + test],
    }


def by_fraction(names: Sequence[str], fractions: Sequence[float], seed: int) -> dict[str, list[str]]:
    """As by_count, with shares of the classes (training, validation, test; they add up to 1)."""
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(
            f"split={list(fractions)}: must be three positive shares (train, validation, test) adding to 1"
        )
    validation, test = (max(1, round(share * len(names))) for share in fractions[1:])
    train = len(names) - validation - test
    if train < 1:
        raise ValueError(f"split={list(fractions)}: leaves no class of {len(names)} for training")
    return by_count(names, (train, validation, test), seed)


def alternating(names: Sequence[str]) -> dict[str, list[str]]:
    """Split sorted classes as Chen et al. (A Closer Look at Few-shot Classification, ICLR 2019) split CUB.

    Every second class is for training, the others in turn for validation and test.
    """
    if len(names) < 4:
        raise ValueError(f"split=alternating: needs at least 4 classes, not {len(names)}")
    order = sorted(names)
    return {"train": order[::2], "validation": order[1::4], "test": order[3::4]}


def digest(split: dict[str, list[str]]) -> str:
    """SHA-256 over the class names of a split, in order: a fingerprint to pin in a test and to record."""
    lines = [f"{part} {name}" for part in ("train", "validation", "test") for name in split[part]]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
