"""Explanations of arguments and controls, read from the source without importing it."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from metalearn.runtime.errors import is_library

PACKAGE = Path(__file__).resolve().parent.parent


def arguments(target: str) -> dict[str, str]:
    """Read the descriptions of arguments, by name, from the docstring of a function, or of a class and its bases."""
    found: dict[str, str] = {}
    for node, file in _definitions(target):
        found |= _commented(node, file.read_text().splitlines())
        found |= _args(ast.get_docstring(node) or "")
    return found


def parameters(target: str) -> dict[str, str]:
    """Read the arguments of a class and its bases, or of a function: the default by name, empty where one is needed."""
    found: dict[str, str] = {}
    for node, _ in _definitions(target):
        if isinstance(node, ast.ClassDef):
            found |= {name: _default(part.value) for name, part in _fields(node)}
        makers = [part for part in getattr(node, "body", []) if getattr(part, "name", "") == "__init__"]
        for maker in makers if isinstance(node, ast.ClassDef) else [node]:
            assert isinstance(maker, ast.FunctionDef)
            pairs = zip(maker.args.kwonlyargs, maker.args.kw_defaults, strict=True)
            found = {argument.arg: _default(value) for argument, value in pairs}  # it replaces those of the bases
    return found


def _default(value: ast.expr | None) -> str:
    """The source of a default, without `field(default_factory=lambda: ...)` around it; empty for none."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        inside = {keyword.arg: keyword.value for keyword in value.keywords}
        made = inside.get("default_factory")
        value = made.body if isinstance(made, ast.Lambda) else inside.get("default", value)
    return "" if value is None else ast.unparse(value)


def _definitions(target: str) -> Iterator[tuple[ast.ClassDef | ast.FunctionDef, Path]]:
    """The definition of a class or function that a dotted path names, after those of its bases; with their files."""
    module, _, name = target.rpartition(".")
    file = _file(module)
    if file is None:
        return
    tree = ast.parse(file.read_text())
    own = [node for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name]
    if not own and (home := _imported(tree, name, module, file)) not in ("", target):
        yield from _definitions(home)
    for node in own:
        for base in reversed(node.bases) if isinstance(node, ast.ClassDef) else ():
            first, _, rest = ast.unparse(base).partition(".")
            home = _imported(tree, first, module, file) or f"{module}.{first}"
            if home != target:
                yield from _definitions(f"{home}.{rest}" if rest else home)
        yield node, file


def _file(module: str) -> Path | None:
    """The source of a module of this package or of the user."""
    path = module.replace(".", "/")
    places = [PACKAGE.parent, Path(), *map(Path, sys.path)] if module else []
    files = (place / name for place in places for name in (f"{path}.py", f"{path}/__init__.py"))
    file = next((file for file in files if file.is_file()), None)
    library = file is not None and not file.resolve().is_relative_to(PACKAGE) and is_library(str(file))
    return None if library else file  # what torch says of its arguments is not about settings


def _imported(tree: ast.Module, name: str, module: str, file: Path) -> str:
    """The dotted path that a name is imported from; empty for a name of the module itself."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in tree.body:
        if not isinstance(node, (ast.ImportFrom, ast.Import)):
            continue
        for alias in node.names:
            if (alias.asname or alias.name.partition(".")[0]) != name:
                continue
            if isinstance(node, ast.Import):
                return alias.name if alias.asname else name
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            return ".".join([*above, *([node.module] if node.module else []), alias.name])
    return ""


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
