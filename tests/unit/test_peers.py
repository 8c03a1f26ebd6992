"""Peers of the speed table that have an environment of their own: what reaches them, and what is said without them."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers.configs import ROOT

SPEED = ROOT / "experiments" / "speed"


@pytest.fixture
def speed(monkeypatch):
    """Import a file of the benchmark by its name."""
    monkeypatch.syspath_prepend(str(SPEED))
    return __import__


def installed(folder, name, version="1.0"):
    """Write what pip leaves behind of a package."""
    info = folder / name / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_a_missing_peer_is_one_line_on_how_to_install_it(speed, tmp_path):
    outside = speed("outside")
    installed(tmp_path, "torchopt", "0.7.3")
    lines = outside.missing(tmp_path)
    assert outside.version(tmp_path, "torchopt") == "0.7.3" and outside.version(tmp_path, "jax") is None
    assert [line.partition(" ")[0] for line in lines] == ["parallel-metalearn", "jax"]
    where = tmp_path / "parallel-metalearn"
    assert lines[0].endswith(f"pip install --target {where} --no-deps parallel-metalearn")
    assert len(outside.missing(None)) == 3 and all("--peers DIR" in line for line in outside.missing(None))


def test_the_page_names_the_same_installs(speed):
    page = (ROOT / "docs" / "performance.md").read_text()
    for name, peer in speed("outside").OUTSIDE.items():
        assert f"\npip install --target DIR/{name} {peer.install}\n" in page


def task(speed):
    """A small task."""
    peer_task = speed("peer_task")
    rng = np.random.default_rng(0)
    weights = {"convs.0.weight": rng.normal(size=(2, 1, 3, 3)).astype("float32"), "head.bias": np.zeros(5, "float32")}
    batch = {"support_x": rng.random((3, 5, 1, 4, 4), dtype="float32"), "support_y": np.arange(15).reshape(3, 5)}
    return peer_task.PeerTask(peer_task.How("anil", 5, 0.4), weights, batch)


def test_a_task_is_the_same_after_its_file(speed, tmp_path):
    before = task(speed)
    before.save(tmp_path / "task.npz")
    after = speed("peer_task").load(tmp_path / "task.npz")
    assert after.how == before.how
    for mine, its in ((before.weights, after.weights), (before.batch, after.batch)):
        assert mine.keys() == its.keys()
        assert all(mine[name].dtype == its[name].dtype and (mine[name] == its[name]).all() for name in mine)
    few = after.double(2)
    assert few.batch["support_x"].shape[0] == 2 and few.batch["support_y"].dtype == np.int64
    assert {value.dtype for value in few.weights.values()} == {np.dtype("float64")}


@pytest.mark.integration
def test_a_process_that_ends_is_one_line(speed, tmp_path, monkeypatch):
    outside = speed("outside")
    (tmp_path / "peer.py").write_text("import sys; sys.exit(3)")
    monkeypatch.setitem(outside.OUTSIDE, "jax", outside.Peer(str(tmp_path / "peer.py"), "jax"))
    with pytest.raises(SystemExit, match="jax: its process ended with status 3"):
        outside.checked(tmp_path, "jax", tmp_path / "task.npz", 1)


@pytest.mark.integration
def test_a_peer_finds_its_own_package_and_answers(speed, tmp_path, monkeypatch):
    outside = speed("outside")
    (tmp_path / "jax" / "metalearn").mkdir(parents=True)
    (tmp_path / "jax" / "metalearn" / "__init__.py").write_text("scale = 2")
    (tmp_path / "peer.py").write_text(
        f"import sys; sys.path.insert(0, {str(SPEED)!r})\n"
        "import metalearn\nfrom peer_process import serve\n"
        "serve(lambda task, double: (lambda: {n: metalearn.scale * w for n, w in task.weights.items()}, dict))\n"
    )
    monkeypatch.setitem(outside.OUTSIDE, "jax", outside.Peer(str(tmp_path / "peer.py"), "jax"))
    sent = task(speed)
    sent.save(tmp_path / "task.npz")
    answer = outside.checked(tmp_path, "jax", tmp_path / "task.npz", 1)
    assert answer["head.bias"].dtype == np.float64
    assert (answer["convs.0.weight"] == 2 * sent.weights["convs.0.weight"].astype("float64")).all()


@pytest.mark.integration
@pytest.mark.parametrize("file", ["clock", "peer_task", "peer_process"])
def test_what_a_peer_imports_needs_neither_torch_nor_this_project(file):
    code = f"import sys; import {file}; sys.exit(bool({{'torch', 'metalearn'}} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=SPEED).returncode == 0


def test_a_faster_peer_is_seen_in_the_table(speed):
    report = speed("report")
    results = json.loads((SPEED / "results.json").read_text())
    results["rows"] = [row for row in results["rows"] if row["engine"] not in report.OUTSIDE]
    first = next(r for r in results["rows"] if (r["device"], r["algo"], r["engine"]) == ("cpu", "maml", "grouped"))
    before = report.table_of(results, "cpu")
    for engine, factor in (("torchopt", 0.25), ("jax", 2.0)):
        rate = first["steps_per_second"] * factor
        row = first | {"engine": engine, "steps_per_second": rate, "version": "1.0", "compile_seconds": 12.3}
        results["rows"].append(row)
    table = report.table_of(results, "cpu")
    assert table[0] == f"{before[0]} `torchopt` | `jax` |"
    assert "(4.00 times)" in table[2] and "(0.50 times)" in table[2] and table[2].endswith(": faster** |")
    assert table[3] == f"{before[3]}  |  |"
    assert "torchopt 1.0, jax 1.0" in table[-1] and "12 to 12 s" in " ".join(table[-2:])
