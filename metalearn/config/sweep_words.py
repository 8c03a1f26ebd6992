"""Recognize Hydra's functions for several values, such as `interval(0.01, 2)`, where they are written wrongly."""

import difflib
import re
from collections.abc import Iterator
from typing import Any

_LOG = "tag(log, interval(0.01, 2))"
EXAMPLES = {"interval": "interval(0.01, 2)", "range": "range(1, 6)", "choice": "choice(a, b)", "tag": _LOG}
_FOREIGN = {"interval": "uniform", "range": "randint", "choice": "categorical", "tag": "loguniform log_uniform"}
_ELSEWHERE = {name: own for own, names in _FOREIGN.items() for name in names.split()}  # names of other libraries
_CALL = re.compile(r"\s*(\w+)\s*([(\[].*)", re.DOTALL)
_INSIDE = re.compile(rf"[\[{{].*\b({'|'.join(EXAMPLES)})\(", re.DOTALL)  # in a list or a mapping
_GAP = re.compile(r"""("[^"]*"|'[^']*')|(?<=[\w.)\]'"])\s+(?=[\w.(\['"+-])""")  # quoted, or a comma is missing


def misread(word: str) -> str | None:
    """Explain a value that is meant as one of Hydra's functions (see EXAMPLES), but that Hydra does not read as one.

    Args:
        word: of the command line, `name=value`.

    Returns:
        One line that says what to write; None if the word is right, or means something else.
    """
    name, _, value = word.partition("=")
    read, call = parsed(word), _CALL.match(value)
    if read is not None:
        inside = next(_inside(read._value), None)
        if inside is None and (re.search("['\"]", value) or not _is_one_text(read._value)):
            return None
    else:
        inside = found[1] if (found := _INSIDE.match(value)) else None
    if inside:
        return f"{word}: {inside}() must be the whole value of a setting: NAME={EXAMPLES[inside]}"
    function = call and _meant(call[1], several=bool(re.search(r"[\w.'\"][,\s]+\S", call[2])))
    if not call or not function:
        return None
    mended = f"{name}={function}{_mended(call[2])}"
    same = call[1] not in _ELSEWHERE and parsed(mended) is not None
    how = f"did you mean '{mended}'?" if same else f"write it as in '{name}={EXAMPLES[function]}'"
    return f"{word}: {call[1]}() cannot be read like this; {how}"


def _meant(name: str, several: bool) -> str | None:
    """Return the function that a name stands for.

    Args:
        several: True if there are several arguments. With one, a name that is only similar may be that of a file.
    """
    if name in EXAMPLES or not several:
        return name if name in EXAMPLES else None
    near = difflib.get_close_matches(name.lower(), EXAMPLES, n=1, cutoff=0.8)
    return near[0] if near else _ELSEWHERE.get(name.lower())


def _mended(arguments: str) -> str:
    """Write arguments in round brackets, with the commas and the closing brackets that are missing."""
    text = re.sub(r"^\[(.*)\]$", r"(\1)", arguments.strip(), flags=re.DOTALL)
    text = _GAP.sub(lambda gap: gap[1] or ", ", text)
    return text + ")" * (text.count("(") - text.count(")"))


def parsed(word: str) -> Any:
    """Return Hydra's reading of a word of the command line; None if it cannot read it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(word)
    except HydraException:
        return None


def _is_one_text(value: Any) -> bool:
    """True for `choice(a b)`: one text with a space where several were meant."""
    from hydra.core.override_parser.types import ChoiceSweep

    return isinstance(value, ChoiceSweep) and len(value.list) == 1 and " " in str(value.list[0]).strip()


def _inside(value: Any, depth: int = 0) -> Iterator[str]:
    """Name the functions for several values that stand in lists and mappings."""
    from hydra.core.override_parser.types import IntervalSweep, RangeSweep, Sweep

    if isinstance(value, Sweep) and depth:
        yield "range" if isinstance(value, RangeSweep) else "interval" if isinstance(value, IntervalSweep) else "choice"
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _inside(part, depth + 1)
