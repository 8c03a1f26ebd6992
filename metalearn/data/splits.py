"""Disjoint splits of classes into training, validation and test."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

from metalearn.runtime.errors import UserError

Name = TypeVar("Name", bound=str)


def shuffled(names: Iterable[str], seed: int) -> list[str]:
    """Shuffle names by sorting the SHA-256 of "seed:name".

    The order depends neither on the given order nor on the random number generator of any library.
    """
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())


def by_count(names: Sequence[str], counts: tuple[int, int, int], seed: int) -> dict[str, list[str]]:
    """Split shuffled names into parts of the given sizes (training, validation, test).

    Raises:
        UserError: fewer names than needed.
    """
    if sum(counts) > len(names):
        raise UserError(
            f"a split into {' + '.join(map(str, counts))} classes needs more than the available {len(names)}"
        )
    order, (train, validation, test) = shuffled(names, seed), counts
    return {
        "train": order[:train],
        "validation": order[train : train + validation],
        "test": order[train + validation : train + validation + test],
    }


def check_fractions(fractions: Sequence[float]) -> None:
    """Raise ValueError unless these are shares of training, validation and test that add up to 1."""
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(
            f"split={list(fractions)}: must be three positive shares (train, validation, test) adding to 1"
        )


def by_fraction(names: Sequence[str], fractions: Sequence[float], seed: int) -> dict[str, list[str]]:
    """Split shuffled names by shares (training, validation, test) that add up to 1.

    Raises:
        ValueError: invalid shares, or no class left for training.
    """
    check_fractions(fractions)
    validation, test = (max(1, round(share * len(names))) for share in fractions[1:])
    train = len(names) - validation - test
    if train < 1:
        raise ValueError(f"split={list(fractions)}: leaves no class of {len(names)} for training")
    return by_count(names, (train, validation, test), seed)


def alternating(names: Sequence[str]) -> dict[str, list[str]]:
    """Split sorted names as Chen et al. split CUB (A Closer Look at Few-shot Classification, ICLR 2019).

    Every second class is for training; the others alternate between validation and test.

    Raises:
        ValueError: fewer than 4 names.
    """
    if len(names) < 4:
        raise ValueError(f"split=alternating: needs at least 4 classes, not {len(names)}")
    order = sorted(names)
    return {"train": order[::2], "validation": order[1::4], "test": order[3::4]}


def digest(split: dict[str, list[str]]) -> str:
    """Return the SHA-256 (hex) of the class names of a split, in order."""
    lines = [f"{part} {name}" for part in ("train", "validation", "test") for name in split[part]]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
