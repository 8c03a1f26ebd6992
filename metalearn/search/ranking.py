"""The order of trials by their scores. Scores that differ by rounding alone are equal."""

import math
from collections.abc import Mapping

TIE = 1e-6  # difference of two equal scores: float32 sums over the same tasks differ by less


def ranked(losses: Mapping[int, float]) -> list[int]:
    """Return the numbers of trials, the lowest loss first; of equal ones, the lower number first.

    Args:
        losses: by number; a loss within TIE of the best one of its rank counts as equal to it.
    """
    ranks: list[list[int]] = []
    for number in sorted(losses, key=lambda n: (losses[n], n)):
        best = losses[ranks[-1][0]] if ranks else math.nan
        if losses[number] == best or losses[number] - best <= TIE:
            ranks[-1].append(number)
        else:
            ranks.append([number])
    return [number for rank in ranks for number in sorted(rank)]
