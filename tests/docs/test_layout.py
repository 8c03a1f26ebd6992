"""The layout of the package: one order of folders, no circles, short files, plain words."""

import ast
import io
import re
import subprocess
import sys
import tokenize

import grimp
import pytest

from tests.helpers.configs import ROOT

PACKAGE = ROOT / "metalearn"
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [file.relative_to(ROOT).as_posix() for file in FILES]
NO_BEGINNING = {
    "As", "How", "If", "In", "It", "Its", "Of", "So", "That", "What", "Whatever", "When", "Where", "Whether", "Which",
    "Who", "Whose", "Why",
}  # fmt: skip
NOT_PLAIN = r"\bsaid so\b|\bin place of\b|\bof one's own\b|\b(go|goes|going|went) on\b"
NOT_AS_IN_TORCH = (
    r"(optimi|normali|initiali|generali|summari|regulari|recogni|organi|visuali)s(e|ed|es|er|ers|ing|ation)\b"
)


def test_the_contracts_of_imports_are_kept():
    code = "from importlinter.cli import lint_imports_command as lint; lint()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_package_is_imported_by_what_it_imports_from_itself():
    """import-linter compares siblings; this compares a package with its own children."""
    graph = grimp.build_graph("metalearn", cache_dir=None)
    for package in sorted(graph.modules):
        circle = graph.find_upstream_modules(package) & graph.find_downstream_modules(package)
        inside = {name for name in circle if name.startswith(f"{package}.")}
        assert not inside, f"{package} imports {sorted(inside)}, which import it"


def test_the_package_is_seen_at_one_glance():
    shown = [path for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(shown) <= 22, sorted(path.name for path in shown)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_short(name):
    lines = len((ROOT / name).read_text().splitlines())
    assert lines <= 250, f"{name}: {lines} lines; divide it by what it is about"


def docstrings(tree: ast.Module):
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if text := ast.get_docstring(node):
                yield getattr(node, "lineno", 1), text


def comments(text: str):
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


@pytest.mark.parametrize("name", NAMES)
def test_words_are_plain(name):
    """A docstring begins with a verb or a noun; phrases are those of the field."""
    text = (ROOT / name).read_text()
    found = [
        f"{name}:{line}: {doc.split('.')[0]}"
        for line, doc in docstrings(ast.parse(text))
        if re.match(r"\W*(\w+)", doc)[1] in NO_BEGINNING
    ]
    for line, words in [*docstrings(ast.parse(text)), *comments(text)]:
        found += [f"{name}:{line}: {match[0]}" for match in re.finditer(NOT_PLAIN, words)]
    spelled = text.replace('"optimizer optim optimiser"', "")  # what users of other libraries type
    found += [f"{name}: {match[0]}" for match in re.finditer(NOT_AS_IN_TORCH, spelled)]
    assert not found, "\n".join(found)
