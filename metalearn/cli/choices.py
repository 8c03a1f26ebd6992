"""Help for one choice: `--help algo=anil` lists its settings, from the YAML file and the docstring.

Nothing is imported for it: docstrings are read from the source.
"""

import ast
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from metalearn.config import compose
from metalearn.config.compose import CONF
from metalearn.errors import UserError

PACKAGE = Path(__file__).resolve().parent.parent
TARGETS = {  # of groups without a `_target_`
    "outer": "metalearn.training.outer_optimizer.Outer",
    "control": "metalearn.training.settings.ControlSettings",
}


class Setting(NamedTuple):
    """One line of the help."""

    name: str
    value: str
    text: str


def groups() -> list[str]:
    """The groups that have choices."""
    return sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "hydra")


def asked(words: list[str]) -> list[tuple[str, Path]]:
    """The choices that the words of the command line name, as their groups and files.

    A folder given by --config-dir is looked through first.

    Raises:
        UserError: a group has no such choice.
    """
    found, pairs = [], zip(words, [*words[1:], ""], strict=False)
    own = [Path(word.partition("=")[2] or following) for word, following in pairs if word.startswith("--config-dir")]
    folders = [*own, CONF]
    for word in words:
        group, equal, value = word.partition("=")
        if not equal or group not in groups():
            continue
        for choice in value.strip("[]'\"").split(","):
            file = next((path for folder in folders if (path := folder / group / f"{choice}.yaml").is_file()), None)
            if file is None:
                known = ", ".join(compose.choices(group))
                raise UserError(f"{group}={choice}: no such choice; there are {known}")
            found.append((group, file))
    return found


def explain(group: str, file: Path) -> str:
    """Explain the settings in the file of one choice as text."""
    text = file.read_text()
    choice = file.with_suffix("").as_posix().rpartition(f"/{group}/")[2]
    comments = [line[1:].strip() for line in text.splitlines() if line.startswith("#") and "@package" not in line]
    width = max(60, min(120, shutil.get_terminal_size().columns))
    lines = [
        f"{group}={choice}",
        *textwrap.wrap(" ".join(comments), width, initial_indent="  ", subsequent_indent="  "),
    ]
    latest: dict[str, Setting] = {}  # a file replaces what those in its defaults say
    for setting in (*settings(file, TARGETS.get(group), compose.package(text, group)), *_brought(group, file, choice)):
        earlier = latest.get(setting.name)
        latest[setting.name] = setting._replace(text=setting.text or earlier.text) if earlier else setting
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


def _brought(group: str, file: Path, choice: str) -> Iterator[Setting]:
    """The settings in other groups that a choice selects by its name; see the defaults of conf/config.yaml."""
    patterns = {"algo": [f"budget/{choice}"], "data": [f"task/{choice}", f"data_algo/{choice}_*"]}
    for pattern in patterns.get(group, []):
        for folder in dict.fromkeys([CONF, file.parent.parent]):  # the second one is the user's, or the same
            for other in sorted(folder.glob(f"{pattern}.yaml")):
                yield from settings(other, None, compose.package(other.read_text(), other.parent.name))


def _entry(head: str, text: str, column: int, width: int) -> list[str]:
    """A name and its explanation in two columns."""
    wrapped = textwrap.wrap(text, width - column) or [""]
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
                yield from (Setting(name, str(other[key]), "") for name, key in names.items())
            elif other != "_self_":
                base, _, package = str(other).partition("@")
                other_file = next(f for folder in file.parents if (f := folder / f"{base}.yaml").is_file())
                yield from settings(other_file, target, f"{prefix}{package}." if package else prefix)
    yield from _entries(root, prefix, lines, target)


def _entries(node: yaml.MappingNode, prefix: str, lines: list[str], target: str | None) -> Iterator[Setting]:
    """The settings of a mapping; a nested one is divided unless it is an argument of its own."""
    target = next((value.value for key, value in node.value if key.value == "_target_"), target)
    about = arguments(target) if target else {}
    for key, value in node.value:
        name = str(key.value)
        if name in ("defaults", "_target_", "hydra"):
            continue
        line = lines[value.start_mark.line]
        comment = line[max(value.end_mark.column, 0) :].partition("# ")[2] if "# " in line else ""
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
            yield Setting(prefix + name, shown, about.get(name, comment).rstrip("."))


def _plain(node: yaml.Node) -> Any:
    """The value of a YAML node."""
    return yaml.SafeLoader("").construct_document(node)


# -- docstrings, read without importing --------------------------------------------------------------------------------


def arguments(target: str) -> dict[str, str]:
    """What the docstrings of a class (and its bases) or a function say of their arguments, by name."""
    module, _, name = target.rpartition(".")
    places = [folder / f"{module.replace('.', '/')}.py" for folder in (PACKAGE.parent, Path())]
    file = next((place for place in places if module and place.is_file()), None)
    if file is None:
        return {}
    tree = ast.parse(file.read_text())
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
            for base in node.bases if isinstance(node, ast.ClassDef) else ():
                if isinstance(base, ast.Name):
                    found |= arguments(f"{_home(tree, base.id) or module}.{base.id}")
            found |= _commented(node, file.read_text().splitlines())
            found |= _args(ast.get_docstring(node) or "")
    return found


def _home(tree: ast.Module, name: str) -> str | None:
    """The module that a name is imported from."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            return node.module
    return None


def _commented(node: ast.ClassDef | ast.FunctionDef, lines: list[str]) -> dict[str, str]:
    """The comments behind the fields of a dataclass."""
    behind = {name: lines[part.lineno - 1].partition("  # ")[2] for name, part in _fields(node)}
    return {name: text for name, text in behind.items() if text}


def _fields(node: ast.ClassDef | ast.FunctionDef) -> Iterator[tuple[str, ast.AnnAssign]]:
    """The annotated fields of a dataclass that its constructor takes."""
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            if not ast.unparse(part.annotation).startswith("ClassVar"):
                yield part.target.id, part


def _args(docstring: str) -> dict[str, str]:
    """The section `Args:` of a docstring, by name; `way, shot: of a task` says the same of both."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in docstring.partition("Args:\n")[2].splitlines():
        if not line.strip() or not line.startswith(" "):
            break
        head, colon, rest = line.strip().partition(": ")
        if line.startswith("    ") and not line.startswith("     ") and colon:
            names = [name.strip() for name in head.split(",")]
            found |= dict.fromkeys(names, rest)
        else:
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def controls() -> Iterator[tuple[str, str, str]]:
    """Every control: its name, the first line of its docstring, its arguments."""
    here = PACKAGE / "controls"
    for imported in ast.parse((here / "__init__.py").read_text()).body:
        if not isinstance(imported, ast.ImportFrom) or imported.module in ("metalearn.controls.loop", None):
            continue
        if not imported.module.startswith("metalearn.controls."):
            continue
        file = PACKAGE.parent / f"{imported.module.replace('.', '/')}.py"
        names = [alias.name for alias in imported.names]
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and node.name in names:
                yield node.name, (ast.get_docstring(node) or "").splitlines()[0], _signature(node, imported.module)


def _signature(node: ast.ClassDef, module: str) -> str:
    """The arguments of a dataclass with their defaults: `n, factor=2: what it is`."""
    about = arguments(f"{module}.{node.name}")
    fields = {name: f"{name}={ast.unparse(part.value)}" if part.value else name for name, part in _fields(node)}
    names = dict.fromkeys([*fields, *about])
    told = [fields.get(name, name) + (f": {about[name].rstrip('.')}" if name in about else "") for name in names]
    return f"({'; '.join(told)})" if told else ""
