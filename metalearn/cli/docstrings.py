"""Explanations of arguments and controls, read from the source without importing it."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def arguments(target: str) -> dict[str, str]:
    """Read the descriptions of arguments, by name, from the docstring of a function, or of a class and its bases."""
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
