"""The tables of README and docs are those of the committed results, and these are of the present defaults."""

import json

import pytest

from tests.docs.pages import script
from tests.helpers.configs import ALGORITHMS, ROOT, config

tables, published = script("docs/tables.py"), script("experiments/published/table.py")
searched = script("experiments/published/search_table.py")
CELLS = published.cells()
STUDY = ROOT / "experiments" / "algorithms"
FLOORS = {"maml": 0.975, "fomaml": 0.965, "anil": 0.965, "metasgd": 0.968, "reptile": 0.965, "pretrain": 0.95,
          "boil": 0.965, "protonet": 0.97}  # fmt: skip


@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in tables.pages()])
def test_the_tables_are_what_the_script_writes(page):
    text = (ROOT / page).read_text()
    assert tables.updated(text) == text, "python docs/tables.py"


def test_a_table_is_replaced_and_the_text_around_it_kept():
    text = "before\n<!-- table result maml -->\nold\n<!-- end -->\nafter\n"
    new = tables.updated(text)
    assert new.startswith("before\n<!-- table result maml -->\n") and new.endswith("<!-- end -->\nafter\n")
    assert "old" not in new and tables.updated(new) == new


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_the_runs_are_of_the_present_defaults(algo):
    node = config(f"algo={algo}", "data=omniglot", "eval.test_tasks=600")
    steps = node["algo"]["inner_steps"], node["algo"]["inner_steps_test"]
    folders = [STUDY / f"omniglot_{algo}", *sorted(STUDY.glob(f"omniglot_{algo}_seed*"))]
    for seed, folder in enumerate(folders):
        result = json.loads((folder / "result.json").read_text())
        assert result["seed"] == seed
        for key in ("way", "shot", "query", "steps"):
            assert result[key] == node[key], key
        assert (result["inner_steps_train"], result["inner_steps_test"]) == steps
        assert result["norm_mode"] == node["norm"] and result["test_tasks"] == 600 and result["data"] == "omniglot"
        assert result["test_accuracy"] > result["pixel_nearest_neighbour"] + 0.1
        assert result["test_accuracy"] >= FLOORS[algo]
    assert len(folders) == 3


def test_the_run_killed_ten_times_ended_as_the_one_left_alone():
    record = json.loads((ROOT / "experiments" / "killed" / "record.json").read_text())
    assert len(record["kills"]) == 10 and all(record["compared"].values()) and len(record["compared"]) == 6
    assert {"data=omniglot", "algo=maml", "steps=1000"} <= set(record["words"]) and record["threads"] == 2
    assert sum("from meta-step" in kill["began"] for kill in record["kills"]) >= 5


def test_the_speed_table_is_that_of_the_results_and_names_where_a_peer_is_faster(monkeypatch):
    folder = ROOT / "experiments" / "speed"
    results = json.loads((folder / "results.json").read_text())
    monkeypatch.syspath_prepend(str(folder))
    assert script("experiments/speed/report.py").markdown(results) == (folder / "table.md").read_text()
    keys = {
        "algo",
        "setting",
        "engine",
        "device",
        "steps_per_second",
        "peak_memory_mb",
        "ratio_to_best_peer",
        "fraction_of_floor",
    }
    assert all(keys <= row.keys() for row in results["rows"])
    ours = {"cpu": "grouped", "cuda": "vmap"}
    chosen = [r for r in results["rows"] if r["engine"] == ours[r["device"]] and r["ratio_to_best_peer"] is not None]
    text = " ".join((folder / "table.md").read_text().split()).partition("Slower than the faster peer:")[2]
    named = [f"{row['network']}, {row['algo']}, {row['setting']}: " for row in chosen if row["ratio_to_best_peer"] < 1]
    assert len(chosen) >= 16 and text.count("; ") + bool(text) == len(named)
    assert all(name in text for name in named)
    assert all(entry["share"] < 0.05 for entry in results["end_to_end"])


def test_the_published_tables_are_those_of_the_runs_and_searches():
    assert searched.markdown() == (ROOT / "experiments" / "published" / "search.md").read_text()
    assert published.markdown(CELLS) == (ROOT / "experiments" / "published" / "table.md").read_text()


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_recipe_says_what_its_run_reached_and_the_run_is_that_of_the_recipe(cell):
    recipe = (published.RECIPES / f"{cell.name}.yaml").read_text()
    assert published.with_headline(recipe, cell) == recipe
    node = config(f"experiment=published/{cell.name}")
    for result in cell.group.results:
        for key in ("way", "shot", "query", "steps"):
            assert result[key] == node[key], key
        steps = node["algo"]["inner_steps"], node["algo"]["inner_steps_test"]
        assert (result["inner_steps_train"], result["inner_steps_test"]) == steps
        assert result["steps_taken"] == result["steps"] and result["test_tasks"] == 600
        assert result["algo"] == cell.algo and result["data"] == "omniglot" and result["norm_mode"] == node["norm"]


@pytest.mark.parametrize("algo", published.ALGORITHMS)
@pytest.mark.parametrize("trained, recipe", [("lake", "20w1s"), ("glyphs", "5w1s")])
def test_the_harder_runs_are_shortened_recipes(trained, recipe, algo):
    folder = ROOT / "experiments" / "harder" / f"{trained}_{algo}"
    result = json.loads((folder / "result.json").read_text())
    words = {"lake": ("data.split=lake", "steps=2500"), "glyphs": ("data=glyphs", "steps=2000")}[trained]
    assert all(word in (ROOT / "experiments" / "harder" / "run.sh").read_text() for word in words)
    node = config(f"experiment=published/{algo}_{recipe}", *words)
    for key in ("way", "shot", "query", "steps"):
        assert result[key] == node[key] and result["test_tasks"] == 600, key
    steps = node["algo"]["inner_steps"], node["algo"]["inner_steps_test"]
    assert (result["inner_steps_train"], result["inner_steps_test"]) == steps
    tests = [json.loads(file.read_text()) for file in folder.glob("evaluations/*/result.json")]
    assert len(tests) == {"lake": 4, "glyphs": 1}[trained]
    assert all(test["test_tasks"] == 600 and test["classes_seen_in_training"] == 0 for test in tests)
