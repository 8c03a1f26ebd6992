"""Ray: two nodes of one core each on this machine, and what a search leaves in its folder."""

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

from tests.helpers.required import missing

MEMORY = 100 * 2**20
SMALL = ("algo=anil", "data=sinusoid", "model.hidden=[8]", "algo.meta_batch=2", "steps=12", "eval.every=3", "eval.tasks=10",
         "eval.test_tasks=10", "search.confirm=0", "pictures=none")  # fmt: skip
RATE = "algo.inner_optimizer.lr=tag(log, interval(0.001, 0.05))"
OUTER = "outer.optimizer.lr=tag(log, interval(0.0003, 0.01))"


_begun: list[subprocess.Popen] = []


def need_ray():
    if importlib.util.find_spec("ray") is None:
        missing("Ray is not installed (pip install '.[ray]')")


def patiently(start, **settings):
    """Start a node, again where it takes longer than Ray waits on a busy machine (30 s)."""
    for left in (2, 1, 0):
        try:
            return start(**settings)
        except Exception as error:
            if not left or "timed out" not in str(error):
                raise


class TwoNodes:
    """A cluster of a head and another node, of one core each."""

    def __init__(self, **other):
        need_ray()
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        from ray.cluster_utils import Cluster

        one = {"num_cpus": 1, "object_store_memory": MEMORY, "include_dashboard": False}
        self._cluster = patiently(Cluster, initialize_head=True, head_node_args=one)
        self.other = patiently(self._cluster.add_node, num_cpus=1, object_store_memory=MEMORY, **other)
        self.address = self._cluster.address

    def kill_other(self):
        """Kill all processes of the second node, its trial included."""
        self._cluster.remove_node(self.other, allow_graceful=False)
        self.other = None

    def close(self):
        self._cluster.shutdown()


def begin(folder, *words, **environment):
    """Start a search as typed."""
    heed = lambda: [signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    process = subprocess.Popen([sys.executable, "-m", "metalearn.run", "-m", *words], cwd=folder, text=True,
                               env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **environment},
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                               preexec_fn=heed)  # fmt: skip
    _begun.append(process)
    return process


def end_all():
    """End what a failed test has left running."""
    while _begun:
        process = _begun.pop()
        if process.poll() is None:
            process.kill()
            process.communicate()


def finished(process, status=0):
    """Wait for a search, and return its lines."""
    out, error = process.communicate(timeout=1200)
    assert process.returncode == status, out + error
    return out + error


def wait_for(condition, process, seconds=900):
    """Wait for something that a search does."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert process.poll() is None, "".join(process.communicate())
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def facts(folder):
    """Return attributes of the trials by their number, as the journal has them now."""
    found, numbers = {}, {}
    file = folder / "study.journal"
    for line in file.read_text().splitlines() if file.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:  # the last line is being written
            continue
        for name, value in entry.get("user_attr", {}).items():
            found.setdefault(entry.get("trial_id", -1), {})[name] = value
            if name == "number":
                numbers[value] = entry["trial_id"]
    return {number: found[trial] for number, trial in numbers.items()}


def checkpoints(sessions, number, above=""):
    """Return the whole checkpoints of a trial that Ray has kept."""
    return [file.parent for file in sessions.glob(f"{above}session_*/{number}/checkpoint_*/trial.json")]


def table(folder):
    with open(folder / "trials.csv") as file:
        return list(csv.DictReader(file))


def same_run(one, other):
    """Check that two run folders have the same tables and results, to the bit."""
    for name in ("metrics.csv", "layers.csv"):
        assert (one / name).read_text() == (other / name).read_text(), name
    results = [json.loads((folder / "result.json").read_text()) for folder in (one, other)]
    for result in results:
        for name in ("train_seconds", "tasks_per_second", "evaluation_seconds"):
            result.pop(name, None)
    assert results[0] == results[1]
