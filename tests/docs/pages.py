"""README.md and the pages of docs/, taken apart."""

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

from tests.helpers.configs import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def script(path: str) -> ModuleType:
    """A Python file of the repository that is not part of the package, imported."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a language, in order; "" for those of none."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [code for name, code in found if name == language]


def commands(text: str, program: str = "metalearn.run") -> list[list[str]]:
    """The words after `python -m PROGRAM` in every command of a page, in blocks and in running text."""
    lines = [line for block in blocks(text, "") for line in block.splitlines()]
    lines += re.findall(r"`(python -m [^`]*)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    start = f"python -m {program}"
    return [
        shlex.split(line.removeprefix(start), comments=True)
        for line in map(str.strip, lines)
        if line == start or line.startswith(start + " ")
    ]


def section(text: str, title: str) -> str:
    """A section of a page, from its heading to the next one of the same level."""
    level = title.partition(" ")[0]
    return re.split(rf"^{level} ", text[text.index(title) + len(title) :], flags=re.MULTILINE)[0]
