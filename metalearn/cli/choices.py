"""Help for one choice: `--help algo=anil` lists its settings, from the YAML file and the docstring.

Nothing is imported for it: docstrings are read from the source.
"""

import ast
import shutil
import textwrap
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from metalearn.cli.docstrings import arguments, controls, parameters
from metalearn.config.groups import CONF, SELECTED, choices, groups, is_global, own_folders, package

_NARROW = 36  # characters of a column of text
TARGETS = {  # of groups without a `_target_`
    "outer": "metalearn.training.outer_optimizer.OuterOptimizer",
    "control": "metalearn.training.settings.ControlSettings",
    "engine": "metalearn.config.engine.EngineSettings",
}


GIVEN = {
    "model",
    "objective",
    "way",
    "shot",
    "query",
    "norm",
    "labels",
    "seed",
    "engine",
    "shape",
    "outputs",
    "num_classes",
    "head_layer",
}  # no settings


class Setting(NamedTuple):
    """One line of the help."""

    name: str
    value: str
    text: str


def overview(words: list[str]) -> str:
    """List the choices of every group, without the groups that others select by name (see conf/config.yaml).

    Args:
        words: the command line, whose --config-dir may add choices.
    """
    lines = []
    for group in groups():
        own = (file for folder in own_folders(words) for file in (folder / group).glob("*.yaml"))
        names = {*choices(group), *(file.stem for file in own)}
        if group not in SELECTED:
            lines.append(f"{group}: {', '.join(sorted(names))}")
    return "\n".join(lines)


def explain(group: str, file: Path) -> str:
    """Explain the settings in the file of one choice as text."""
    text = file.read_text()
    choice = file.with_suffix("").as_posix().rpartition(f"/{group}/")[2]
    comments = [line[2:].strip() for line in text.splitlines() if line.startswith("# ")]
    comments = [line for line in comments if not line.startswith(("@package", "python -m"))]
    width = max(60, min(120, shutil.get_terminal_size().columns))
    lines = [
        f"{group}={choice}",
        *textwrap.wrap(" ".join(comments), width, initial_indent="  ", subsequent_indent="  "),
    ]
    latest: dict[str, Setting] = {}  # a file replaces what those in its defaults say
    for setting in (*settings(file, TARGETS.get(group), package(text, group)), *_brought(group, file, choice)):
        earlier = latest.get(setting.name)
        latest[setting.name] = setting._replace(text=setting.text or earlier.text) if earlier else setting
    if not file.resolve().is_relative_to(CONF.resolve()):
        prefix = package(text, group)
        latest |= {s.name: s for s in _unset(file, prefix) if s.name.lstrip("+") not in latest}
    listed = list(latest.values())
    column = min(44, max((len(s.name) + len(s.value) + 5 for s in listed), default=0))
    lines += [""] if listed else ["  It has no settings."]
    for setting in listed:
        lines += _entry(f"  {setting.name}={setting.value}", setting.text, column, width)
    if group == "control":
        lines += ["", "  Every control, added with +control.cycle.NAME.key=value:", ""]
        for name, about, arguments in controls():
            lines += _entry(f"  {name}", f"{about} {arguments}".strip(), column, width)
    return "\n".join(lines)


def _unset(file: Path, prefix: str) -> Iterator[Setting]:
    """The arguments of a class of the user that its file does not set: with their default values, or needed."""
    target = (yaml.safe_load(file.read_text()) or {}).get("_target_", "")
    about = arguments(target)
    for name, default in parameters(target).items():
        if name in about and name not in GIVEN:
            text = about[name].rstrip(".")
            yield Setting(f"+{prefix}{name}", _as_typed(default), text if default else f"a value is needed: {text}")


def _as_typed(source: str) -> str:
    """A Python expression as a value of the command line, if it is a plain one."""
    try:
        value = ast.literal_eval(source)
    except (ValueError, SyntaxError):
        return source
    return str(yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)).partition("\n")[0]


def _brought(group: str, file: Path, choice: str) -> Iterator[Setting]:
    """The settings in other groups that a choice selects by its name; see the defaults of conf/config.yaml."""
    if group == "model":  # those of every model
        yield from (s for s in settings(CONF / "config.yaml", None, "") if s.name.startswith("model."))
    patterns = {"algo": [f"budget/{choice}"], "data": [f"task/{choice}", f"data_algo/{choice}_*"]}
    for pattern in patterns.get(group, []):
        for folder in dict.fromkeys([CONF, file.parent.parent]):  # the second one is the user's, or the same
            for other in sorted(folder.glob(f"{pattern}.yaml")):
                yield from settings(other, None, package(other.read_text(), other.parent.name))


def _entry(head: str, text: str, column: int, width: int) -> list[str]:
    """A name and its explanation in two columns."""
    if width - column < _NARROW:  # no room beside the names
        column = 6
    # A broken name or path cannot be copied
    wrapped = textwrap.wrap(text, width - column, break_long_words=False, break_on_hyphens=False) or [""]
    first = [f"{head:<{column}}{wrapped[0]}"] if len(head) < column else [head, " " * column + wrapped[0]]
    return [line.rstrip() for line in (*first, *(" " * column + line for line in wrapped[1:])) if line.strip()]


def settings(file: Path, target: str | None, prefix: str) -> Iterator[Setting]:
    """The settings in a file, and in those that its defaults name.

    Args:
        target: the class whose arguments they are, unless the file has a `_target_`.
        prefix: of their names, such as `algo.`.
    """
    lines = file.read_text().splitlines()
    root = yaml.compose("\n".join(lines))
    if not isinstance(root, yaml.MappingNode):
        return
    for key, value in root.value:
        for other in _plain(value) if key.value == "defaults" else ():
            if isinstance(other, dict):
                names = {str(key).removeprefix("override ").lstrip("/").partition("@")[0]: key for key in other}
                shown = {name: key for name, key in names.items() if not name.startswith("hydra/")}
                yield from (Setting(name, str(other[key]), "") for name, key in shown.items())
            elif other != "_self_":
                base, _, place = str(other).partition("@")
                other_file = next(f for folder in file.parents if (f := folder / f"{base}.yaml").is_file())
                inside = f"{prefix}{place}." if place else prefix
                yield from settings(other_file, target, "" if is_global(other_file.read_text()) else inside)
    yield from _entries(root, prefix, lines, target)


def _entries(node: yaml.MappingNode, prefix: str, lines: list[str], target: str | None) -> Iterator[Setting]:
    """The settings of a mapping; a nested one is divided unless it is an argument of its own."""
    target = next((value.value for key, value in node.value if key.value == "_target_"), target)
    about = arguments(target) if target else {}
    for key, value in node.value:
        name = str(key.value)
        if name in ("defaults", "_target_", "hydra"):
            continue
        comment = _behind(lines, value)
        if isinstance(value, yaml.MappingNode) and value.value and name not in about:
            yield from _entries(value, f"{prefix}{name}.", lines, None)
        elif isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
            yield from _entries(value, f"{prefix}{name}.", lines, None)
        else:
            flow = isinstance(value, (yaml.MappingNode, yaml.SequenceNode))
            shown = (
                yaml.safe_dump(_plain(value), default_flow_style=True, sort_keys=False, width=1000).strip()
                if flow
                else value.value
            )
            yield Setting(prefix + name, shown, (comment or about.get(name, "")).rstrip("."))


def _behind(lines: list[str], value: yaml.Node) -> str:
    """The comment behind a value, with the lines of comment below that begin in the same column."""
    first = value.start_mark.line
    column = lines[first].find("# ", value.end_mark.column if value.end_mark.line == first else 0)
    if column < 0:
        return ""
    below = takewhile(lambda line: line[:column].isspace() and line[column:].startswith("# "), lines[first + 1 :])
    return " ".join(line[column + 2 :].strip() for line in (lines[first], *below))


def _plain(node: yaml.Node) -> Any:
    """The value of a YAML node."""
    return yaml.SafeLoader("").construct_document(node)
