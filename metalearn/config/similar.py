"""Suggestions for misspelled names."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], form: str = "{}", least: float = 0.6) -> str:
    """Suggest the known name that is spelled most alike, as ` (did you mean ...?)`, or nothing.

    Args:
        form: how the suggestion is written, such as `algo.{}`.
        least: how much must be alike, from 0 to 1.
    """
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=least)
    return f" (did you mean {form.format(found[0])}?)" if found else ""
