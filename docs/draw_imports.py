"""Draw the folders of the package and the imports between them: `python docs/draw_imports.py` writes docs/imports.svg.

The folders stand in one column in the documented order. An arc on the right joins a folder to each folder that it
imports from, below it. An import that runs back up would be drawn on the left, in red; there is none.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "metalearn"
DRAWING = ROOT / "docs" / "imports.svg"
ENTRY = "run, evaluate, analyze, compare, plot"
ORDER = {
    ENTRY: "what a user types",
    "cli": "the command line: overrides, help, torchrun",
    "search": "many runs: samplers, pruning, confirmation",
    "lifecycle": "a run: open, train, retrain, test, record",
    "learner": "a trained learner, used alone",
    "training": "trainer, executor, outer optimizer, evaluation",
    "controls": "how long to train",
    "recording": "tables, checkpoints, pictures, comparisons",
    "trackers": "W&B, TensorBoard",
    "algorithms": "the meta-gradient, a file for each algorithm",
    "inner": "the inner loop and its optimizers",
    "models": "networks as pure functions of their weights",
    "kernels": "many tasks at once, only for speed",
    "data": "data sets, splits, the task sampler",
    "config": "composing, checking and building",
    "runtime": "device, files, signals, processes, console, errors",
}


def folder_of(module: str) -> str:
    """Return the folder in which a dotted module lies; the entry points count as one."""
    name = module.split(".")[1] if "." in module else ""
    return ENTRY if name in ENTRY.split(", ") else name


def imports() -> set[tuple[str, str]]:
    """Find the pairs of folders of which one imports from the other, inside functions and for types included."""
    files = {
        ".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f for f in PACKAGE.rglob("*.py")
    }
    found: set[tuple[str, str]] = set()
    for module, file in files.items():
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                whole = [f"{node.module}.{alias.name}" for alias in node.names]
                names = [name if name in files else node.module for name in whole]
            for name in names:
                a, b = folder_of(module), folder_of(name)
                if name in files and a and b and a != b:
                    found.add((a, b))
    return found


def unknown() -> set[str]:
    """Return the folders and files of the package that the documented order lacks."""
    names = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p.is_dir() and (p / "__init__.py").exists())}
    return names - {"__init__"} - set(ORDER) - set(ENTRY.split(", "))


def upward() -> list[tuple[str, str]]:
    """Return the imports that run against the documented order."""
    place = list(ORDER)
    return [(a, b) for a, b in imports() if place.index(a) > place.index(b)]


def table() -> str:
    """Return the order as a Markdown table."""
    found = imports()
    lines = ["| | folder | what it is | imports from |", "|---|---|---|---|"]
    for number, (name, what) in enumerate(ORDER.items(), 1):
        used = ", ".join(f"`{b}`" for b in ORDER if (name, b) in found)
        lines.append(f"| {number} | `{name}` | {what} | {used or 'nothing'} |")
    return "\n" + "\n".join(lines) + "\n\n"


def drawing() -> str:
    """Return the drawing as SVG."""
    height, top, left, width = 44, 24, 40, 400
    place = {name: top + height * i for i, name in enumerate(ORDER)}
    parts = []
    for a, b in sorted(imports(), key=lambda edge: (place[edge[0]], place[edge[1]])):
        down = place[b] > place[a]
        x = left + width if down else left
        y1, y2 = place[a] + 17 + (5 if down else -5), place[b] + 17 - (5 if down else -5)
        bend = (1 if down else -1) * (24 + abs(place[b] - place[a]) * 0.55)
        colour = "#4a6fa5" if down else "#c0392b"
        parts.append(
            f'<path d="M{x} {y1} C{x + bend:.0f} {y1}, {x + bend:.0f} {y2}, {x} {y2}" fill="none" stroke="{colour}" '
            'stroke-width="1.2" stroke-opacity="0.65" marker-end="url(#end)">'
            f"<title>{a} imports {b}</title></path>"
        )
    for name, what in ORDER.items():
        y = place[name]
        parts.append(
            f'<rect x="{left}" y="{y}" width="{width}" height="34" rx="5" fill="#f4f6f9" stroke="#4a6fa5"/>'
            f'<text x="{left + 10}" y="{y + 15}" font-weight="bold">{name}</text>'
            f'<text x="{left + 10}" y="{y + 29}" font-size="11" fill="#555">{what}</text>'
        )
    size = f'width="880" height="{top + height * len(ORDER)}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">\n'
        '<rect width="100%" height="100%" fill="white"/>\n'
        '<defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto" '
        'markerUnits="userSpaceOnUse"><path d="M0 0 L8 4 L0 8 z" fill="#4a6fa5"/></marker></defs>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    DRAWING.write_text(drawing())
    print(DRAWING.relative_to(ROOT))
