"""Made-up records of runs."""

import json


def made(folder, algo, lr, seed, val, scores, **others):
    """Write the record of a finished run."""
    folder.mkdir(parents=True)
    inner = {"name": "SGD", "lr": lr}
    node = {"way": 5, "shot": 1, "steps": 300, "seed": seed, "algo": {"_target_": f"x.{algo}.X", "inner_optimizer": inner,
            "meta_batch": {"maml": 8}.get(algo, 5)}, "data": {"_target_": "metalearn.data.glyphs.load"},
            "tracker": {"project": algo}, "log_every": seed + 1}  # fmt: skip
    words = [f"algo={algo}", f"algo.inner_optimizer.lr={lr}", f"seed={seed}"]
    (folder / "config.json").write_text(json.dumps({"config": node, "overrides": words, "name": algo}))
    result = {"algo": algo, "data": "glyphs", "split": "s", "way": 5, "shot": 1, "eval_query": 5, "norm_mode": "transductive",
              "steps": 300, "steps_taken": 300, "seed": seed, "val_accuracy": val, "val_ci95": 0.01, "val_tasks": 20,
              "test_accuracy": sum(scores) / len(scores), "test_ci95": 0.02, "test_tasks": len(scores),
              "test_accuracy_support": 0.5, "test_ci95_support": 0.03, "test_scores": scores, "train_seconds": 12.0,
              "device_name": "CPU", "test_digest": f"of seed {seed}"}  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result | others))
    (folder / "metrics.csv").write_text(f"step,val_accuracy\n150,0.4\n300,{val}\n")


def edit(run, words=(), found=None, **settings):
    """Change settings of a made run, by dotted name with `__` for the dot."""
    note = json.loads((run / "config.json").read_text())
    for name, value in settings.items():
        *groups, last = name.split("__")
        node = note["config"]
        for group in groups:
            node = node.setdefault(group, {})
        node[last] = value
    note["overrides"] += words
    (run / "config.json").write_text(json.dumps(note | ({"data": found} if found else {})))


def untested(run):
    """Make the record of a run one with test=false."""
    noted, result = (json.loads((run / name).read_text()) for name in ("config.json", "result.json"))
    noted["config"]["test"] = False
    noted["overrides"].append("test=false")
    (run / "config.json").write_text(json.dumps(noted))
    kept = {name: value for name, value in result.items() if not name.startswith("test")}
    (run / "result.json").write_text(json.dumps(kept))


def mixed(folder, count=14):
    """Runs that differ in many settings, with names as long as those of new runs."""
    for i in range(count):
        place = folder / f"2026-01-01_12-00-{i:02d}_headandlastblock_miniimagenet_seed0"
        made(place, f"algorithm{i % 3}", 0.1 * (i + 1), 0, 0.5 + 0.01 * i, [0.8, 0.9], way=5 + i % 8,
             pixel_nearest_neighbour=0.4, paper_accuracy=0.9)  # fmt: skip
        path = place / "config.json"
        noted = json.loads(path.read_text())
        noted["config"] |= {
            "way": 5 + i % 8,
            "eval": {"tasks": 20 * i, "query": i},
            "outer": {"schedule": "cosine" * (1 + i % 3)},
        }
        noted["config"]["data"] |= {"classes": [600 + i, 100, 200], "a_setting_with_a_long_name": f"the value {i}"}
        noted["overrides"] += ["eval.tasks=1", "eval.query=1", "outer.schedule=x", "data.classes=x",
                               "data.a_setting_with_a_long_name=x"]  # fmt: skip
        path.write_text(json.dumps(noted))
