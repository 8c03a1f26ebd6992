"""Hooks of mkdocs: links that leave docs/ work in the repository and on the site alike.

A picture outside docs/ is copied into the site. A link to a source file becomes plain text there.
"""

import posixpath
import re
from typing import Any

from mkdocs.structure.files import File

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(((?:\.\./)+[^)\s#]+)\)")


def _outside(page: str, target: str) -> str | None:
    """Return the path from the root of the repository of a link that leaves docs/, else None."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
    return None if path.startswith("docs/") else path


def on_files(files: Any, config: Any) -> Any:
    """Add the pictures outside docs/ that pages show."""
    from pathlib import Path

    root = Path(config.config_file_path).parent
    for page in list(files.documentation_pages()):
        for mark, _, target in _LINK.findall(page.content_string):
            path = _outside(page.src_uri, target)
            if mark and path and files.get_file_from_path(path) is None:
                files.append(File.generated(config, path, abs_src_path=str(root / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Point pictures to their copies, and turn links to source files into text."""

    def link(found: re.Match[str]) -> str:
        mark, text, target = found.groups()
        path = _outside(page.file.src_uri, target)
        if path is None:
            return found[0]
        if not mark:
            return text
        depth = posixpath.dirname(page.file.src_uri)
        return f"![{text}]({posixpath.relpath(path, depth or '.')})"

    return _LINK.sub(link, markdown)
