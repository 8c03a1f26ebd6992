"""Errors as one line that says what was wrong and what to do."""

import re

from metalearn.config.groups import NESTED, choices
from metalearn.config.names import OPEN, for_choice, suggestion
from metalearn.config.similar import did_you_mean


def one_line(error: Exception) -> str:
    """An error as one line that says what to do."""
    from hydra.errors import MissingConfigException, OverrideParseException

    text = str(error)
    if mark := getattr(error, "problem_mark", None):  # of PyYAML
        return f"{mark.name}, line {mark.line + 1}: is not YAML ({getattr(error, 'problem', None) or 'wrong signs'})"
    if isinstance(error, MissingConfigException):
        file = str(error.missing_cfg_file)
        nested = next((name for name in NESTED if file.startswith(f"{name}/")), file.partition("/")[0])
        group, choice = nested, file[len(nested) + 1 :]
        users = [] if "/" in choice else [name for name in error.options or () if not name.startswith("_")]
        known = sorted({*choices(group), *users})  # users: of a folder given by --config-dir
        there = f"there are {', '.join(known)}{for_choice(group, choice)}"
        return f"{group}={choice}: no such choice{did_you_mean(choice, known)}; {there}"
    if key := re.search(r"(?s)Could not override '([^']*)'(?:.*Key '([^']*)' is not in struct)?", text):
        name = f"{key[1]}.{key[2]}" if key[1] and key[2] else key[1] or key[2]
        inside = str(getattr(error.__cause__, "full_key", None))  # a part of a value such as {name: Adam, eps: 1}
        name = inside if inside.startswith(f"{name}.") else name
        if name.rpartition(".")[0] in ("algo.inner_optimizer", "outer.optimizer"):
            return f"{name}: not set yet; add it with +{name}=, and the optimizer receives it"
        if name.startswith("outer.schedule."):
            whole = "'outer.schedule={name: StepLR, step_size: 1000}'"
            return f"{name}: not set yet; write the schedule with all its arguments: {whole}"
        added = re.search(rf"To append to your config use \+({re.escape(name)}=.*)", text)
        meant = suggestion(name)
        if name.startswith(OPEN) and not meant.startswith(" (did you mean"):
            meant += f"; if its class has it, add it with +{added[1] if added else f'{name}=...'}"
        return f"{name}: no such setting{meant}; --help explains them, --cfg job shows all"
    if "INTERVAL_SWEEP" in text:
        return "interval(): has no list of values for a plain sweep; search over it with search=tpe, or give values"
    if "missing EQUAL" in text:
        return f"{text.split(chr(39))[1]}: write settings as key=value; --help explains them"
    if key := re.search(r"node `([^`]*)` is not a container", text):
        return f"{key[1]}: expects a group of settings, not a value"
    if text.startswith("Sweep parameters"):
        word = text.removeprefix("Sweep parameters '").removesuffix("' requires --multirun")
        return f"{word}: several values: for a sweep add -m, for a search -m search=tpe"
    if text.startswith("Ambiguous value"):
        return f"{text.split(chr(39))[1]}: several values are a sweep: add -m"
    if text.startswith("Missing mandatory value"):
        return f"{getattr(error, 'full_key', None) or text.split()[-1]}: a value is needed, see --help"
    if "Config group override" in text or "Error resolving interpolation" in text:  # null, or removed by ~
        return "algo, data, model, outer, control and tracker need one of their choices, not null: --help lists them"
    if isinstance(error, OverrideParseException):
        name, _, value = str(error.override).partition("=")
        return f"{name}={value}: brackets or quotes do not match; a text with such signs: {name}='\"...\"'"
    if isinstance(error, OSError):
        return f"{error.filename or 'the system'}: {error.strerror or error}"
    return " ".join(text.split("\n")[0].split())
