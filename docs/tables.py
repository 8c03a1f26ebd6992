"""Write the tables of README.md and docs/ anew from the committed results: `python docs/tables.py`.

A block begins with the comment `<!-- table NAME -->` and ends with `<!-- end -->`. The tests compare the blocks with
what this script would write.
"""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STUDY = ROOT / "experiments" / "algorithms"
SPEED = ROOT / "experiments" / "speed" / "table.md"
PUBLISHED = ROOT / "experiments" / "published" / "table.md"
SEARCH = ROOT / "experiments" / "search"
BLOCK = re.compile(r"(?<=<!-- table )([\w ]+)( -->\n)(.*?)(?=<!-- end -->)", re.DOTALL)


def pages() -> list[Path]:
    """Return the files that may hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def updated(text: str) -> str:
    """Return the text of a page with every table made anew."""

    def block(found: re.Match[str]) -> str:
        kind, *words = found[1].split()
        return f"{found[1]}{found[2]}{TABLES[kind](*words)}"

    return BLOCK.sub(block, text)


def comparison(study: str = "algorithms") -> str:
    """Return the comparison of a study, as `python -m metalearn.compare experiments/STUDY --markdown` prints it."""
    from metalearn.compare import markdown

    return "\n" + markdown(ROOT / "experiments" / study).strip() + "\n\n"


def speed() -> str:
    """Return the table of `make speed` and the sentences below it."""
    return "\n" + SPEED.read_text().strip() + "\n\n"


def searches(name: str) -> str:
    """Return the table of a study of searches: `omniglot` or `analytic`."""
    return "\n" + (SEARCH / f"{name}.md").read_text().strip() + "\n\n"


def published() -> str:
    """Return the table of `python experiments/published/table.py`."""
    return "\n" + PUBLISHED.read_text().strip() + "\n\n"


def ratios() -> str:
    """Return how much faster a meta-step is than the faster peer, from the slowest row to the fastest."""
    rows = json.loads((SPEED.parent / "results.json").read_text())["rows"]
    span = {}
    for device, engine in {"cpu": "grouped", "cuda": "vmap"}.items():
        own = [r["ratio_to_best_peer"] for r in rows if (r["device"], r["engine"]) == (device, engine)]
        found = [ratio for ratio in own if ratio is not None]
        span[device] = f"{min(found):.1f} to {max(found):.1f}"
    return (
        f"\nMeta-steps are {span['cpu']} times as fast on a CPU, and {span['cuda']} times on a GPU, as with the\n"
        "faster of `higher` and a plain loop over tasks.\n\n"
    )


def summary(data: str) -> str:
    """Return a short table of the runs on a data set, the best by validation first."""
    rows = [r for r in map(_result, sorted(STUDY.glob(f"{data}_*"))) if r is not None]
    rows.sort(key=lambda r: -r["val_accuracy"])
    cells = [_cells(r) for r in rows]
    titles = ["`algo=`", "test", "test, support statistics", "meta-steps"]
    return _table(titles, [[f"`{r['algo']}`", c[1], c[2], c[3]] for r, c in zip(rows, cells, strict=True)])


def result(algo: str) -> str:
    """Return the runs of one algorithm, a row for each data set."""
    rows = [r for r in map(_result, sorted(STUDY.glob(f"*_{algo}"))) if r is not None]
    if not rows:
        return "\nNot yet in the results table.\n\n"
    titles = ["data", "validation", "test", "test, support statistics", "meta-steps"]
    return _table(titles, [[r["data"], *_cells(r)] for r in rows])


def settings(name: str, group: str = "algo") -> str:
    """Return what `python -m metalearn.run --help GROUP=NAME` prints."""
    from metalearn.cli.choices import explain

    os.environ["COLUMNS"] = "100"
    text = explain(group, ROOT / "conf" / group / f"{name}.yaml")
    lines = [line.rstrip() for line in text.splitlines()]
    return "\n```text\n" + "\n".join(lines).strip() + "\n```\n\n"


def drawn(_: str = "") -> str:
    """Return the folders of the package and what each may import, from the imports themselves."""
    import runpy

    return str(runpy.run_path(str(ROOT / "docs" / "draw_imports.py"))["table"]())


def _result(folder: Path) -> dict[str, Any] | None:
    file = folder / "result.json"
    return json.loads(file.read_text()) if file.is_file() else None


def _cells(r: dict[str, Any]) -> list[str]:
    def score(mean: str, half: str) -> str:
        return f"{100 * r[mean]:.2f} ± {100 * r[half]:.2f}%" if mean in r else ""

    taken = str(r["steps_taken"]) if r["steps_taken"] == r["steps"] else f"{r['steps_taken']} of {r['steps']}"
    return [
        score("val_accuracy", "val_ci95"),
        score("test_accuracy", "test_ci95"),
        score("test_accuracy_support", "test_ci95_support"),
        taken,
    ]


def _table(titles: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table without columns that are empty."""
    from metalearn.recording.comparison.formats import markdown_lines

    kept = [i for i in range(len(titles)) if any(row[i] for row in rows)]
    lines = markdown_lines([titles[i] for i in kept], [[row[i] for i in kept] for row in rows])
    return "\n" + "\n".join(lines) + "\n\n"


TABLES: dict[str, Callable[..., str]] = {
    "comparison": comparison,
    "speed": speed,
    "searches": searches,
    "published": published,
    "ratios": ratios,
    "summary": summary,
    "result": result,
    "settings": settings,
    "layers": drawn,
}


def main() -> None:
    """Rewrite the pages that have changed, and name them."""
    for page in pages():
        text = page.read_text()
        if (new := updated(text)) != text:
            page.write_text(new)
            print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
