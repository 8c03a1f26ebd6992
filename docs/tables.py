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
ANALYZED = ("maml", "fomaml", "anil", "boil", "reptile")
SPEED = ROOT / "experiments" / "speed" / "table.md"
PUBLISHED = ROOT / "experiments" / "published" / "table.md"
HARDER = ROOT / "experiments" / "harder"
SEARCH = ROOT / "experiments" / "search"
HARDER_TESTS = ("20-way", "20-way, one alphabet", "5-way", "5-way, upright", "Omniglot to glyphs", "glyphs to glyphs",
                "glyphs to Omniglot")  # fmt: skip
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
    """Return a short table of the algorithms on a data set, the best by validation first."""
    groups = [group for group in _groups() if group.results[0]["data"] == data]
    titles = ["`algo=`", "test", "test, support statistics"]
    return _table(titles, [[f"`{group.results[0]['algo']}`", *_cells(group)[1:3]] for group in groups])


def result(algo: str) -> str:
    """Return the runs of one algorithm, a row for each data set."""
    groups = [group for group in _groups() if group.results[0]["algo"] == algo]
    if not groups:
        return "\nNot yet in the results table.\n\n"
    titles = ["data", "validation", "test", "test, support statistics", "seeds", "meta-steps"]
    return _table(titles, [[group.results[0]["data"], *_cells(group)] for group in groups])


def reuse() -> str:
    """Return what freezing layers does to the accuracy of the learners, and how much each layer changes."""
    rows = []
    for algo in ANALYZED:
        for file in sorted((STUDY / f"omniglot_{algo}").glob("analysis/*/result.json")):
            result = json.loads(file.read_text())
            *first, last, head = result["layers"]
            frozen = last["frozen_up_to"], head["frozen_alone"], result["without_steps"]
            changes = [f"{100 * f['difference']:+.2f} ± {100 * f['difference_ci95']:.2f}" for f in frozen]
            similar = min(layer["cka"] for layer in first), last["cka"], head["cka"]
            score = _percent(result["test_accuracy"], result["test_ci95"])
            rows.append([algo, str(result["inner_steps_test"]), score, *changes, *(f"{cka:.3f}" for cka in similar)])
    titles = ["algorithm", "inner steps", "own inner loop", "body frozen", "head frozen", "nothing adapted"]
    return _table([*titles, "CKA of layers 1 to 3", "layer 4", "head"], rows)


def harder() -> str:
    """Return what the learners of experiments/harder score on each test, and nearest neighbours in pixel space."""
    rows, pixels = [], []
    for folder in sorted(HARDER.glob("lake_*")):
        algo = folder.name.removeprefix("lake_")
        found = {}
        for trained in ("lake", "glyphs"):
            for file in (HARDER / f"{trained}_{algo}").rglob("result.json"):
                result = json.loads(file.read_text())
                found[_harder_test(trained, result)] = result
        tests = [found[title] for title in HARDER_TESTS]
        rows.append([algo, *(_percent(test["test_accuracy"], test["test_ci95"]) for test in tests)])
        # The same for all algorithms, whose tasks are the same
        pixels = [f"{100 * test['pixel_nearest_neighbour']:.2f}" for test in tests]
    return _table(["algorithm", *HARDER_TESTS], [*rows, ["pixels", *pixels]])


def _harder_test(trained: str, result: dict[str, Any]) -> str:
    """Return the title of a test in `HARDER_TESTS`, from its record and what the learner was trained on."""
    data = result.get("data_settings", {})
    if trained == "glyphs" or result["data"] == "glyphs":
        names = {"lake": "Omniglot", "omniglot": "Omniglot", "glyphs": "glyphs"}
        return f"{names[trained]} to {names[result['data']]}"
    upright = ", upright" * (not data.get("rotate_test", True))
    return f"{result['way']}-way{', one alphabet' * bool(data.get('within_alphabet'))}{upright}"


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


def _groups() -> list[Any]:
    """Return the runs of the results table in groups that differ only in their seed, the best by validation first."""
    from metalearn.recording.comparison.groups import group_runs
    from metalearn.recording.comparison.runs import read_runs

    return group_runs(read_runs([STUDY]))


def _cells(group: Any) -> list[str]:
    """Return validation score, both test scores, number of seeds and meta-steps of runs that differ in their seed."""

    def score(part: str, mode: str = "") -> str:
        found = group.score(part, mode)
        return f"{100 * found[0]:.2f} ± {100 * found[1]:.2f}%" if found else ""

    r = group.results[0]
    taken = str(r["steps_taken"]) if r["steps_taken"] == r["steps"] else f"{r['steps_taken']} of {r['steps']}"
    return [score("val"), score("test"), score("test", "_support"), str(len(group.results)), taken]


def _percent(score: float, half: float) -> str:
    """Return a score and the half-width of its interval, in percent."""
    return f"{100 * score:.2f} ± {100 * half:.2f}"


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
    "reuse": reuse,
    "harder": harder,
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
