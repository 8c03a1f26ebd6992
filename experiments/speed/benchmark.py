"""Meta-steps per second and memory of every engine, side by side.

Command: `make speed`, or `python experiments/speed/benchmark.py`.

Every engine has a process of its own; they take turns of half a second (one meta-step at least), on the same tasks and
from the same weights. Each is started three times, for one process of the same engine is faster or slower than another
by up to a tenth for all its life. First their gradients in double precision are compared. Writes results.json, table.md
and the pictures beside this file.

    --quick      one start and two turns, for a look: writes nothing
    --starts, --turns    of each comparison; by default 3 and 3
    --device     cpu or cuda; by default both, where there is CUDA
    --network    conv4, resnet12, ... (see networks.py); by default all. Rows of other networks are kept
    --algo       maml, anil, ...; by default all. Other rows are kept
    --setting    numbers of the comparisons to run, from 0 in the order of the table; by default all
    --peers      a folder with peers that have an environment of their own (outside.py); by default none
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SLOW = 3  # seconds of a meta-step of which one start is enough
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import outside  # noqa: E402
import torch  # noqa: E402
from end_to_end import end_to_end  # noqa: E402
from engine_process import OURS, PEERS, Setting, matmul_rate, peer_task_of, work  # noqa: E402
from networks import NETWORKS  # noqa: E402
from report import markdown, pictures, show  # noqa: E402
from settings import ALGORITHMS, CHOSEN, GROWTH, KEPT, LONG, NETWORK_SETTINGS, ORDINARY, SETTINGS  # noqa: E402

from metalearn.runtime.progress import Progress  # noqa: E402


class Bench:
    """Runs engines against each other and keeps the rows of results.json."""

    def __init__(self, device: str, starts: int, turns: int, folder: Path | None):
        self.device, self.starts, self.turns, self.folder = device, starts, turns, folder
        self.rate = matmul_rate(device)
        self.rows: list[dict[str, Any]] = []

    def compare(self, algo: str, setting: Setting, engines: tuple[str, ...]) -> None:
        """One row an engine."""
        seconds: dict[str, list[float]] = {engine: [] for engine in engines}
        for start in range(self.starts):
            with tempfile.TemporaryDirectory() as task:
                memory, flops, compiling = self._start(algo, setting, engines, seconds, start, Path(task) / "task.npz")
            if min(map(max, seconds.values())) > SLOW:
                break
        medians = {engine: statistics.median(taken) for engine, taken in seconds.items()}
        best = min((medians[e] for e in PEERS if e in medians), default=None)
        for engine, peak in memory.items():
            low, _, high = statistics.quantiles(seconds[engine], n=4)
            row = {
                "network": setting.network, "algo": algo, "setting": str(setting), "engine": engine,
                "device": self.device,
                "steps_per_second": 1 / medians[engine], "quartiles": [1 / high, 1 / low],
                "turns": len(seconds[engine]), "starts": start + 1, "peak_memory_mb": peak,
                "ratio_to_best_peer": None if best is None else best / medians[engine],
                "fraction_of_floor": flops / self.rate / medians[engine],
            }  # fmt: skip
            if engine in outside.OUTSIDE:
                row["version"] = outside.version(self._outside(), engine)
                row["compile_seconds"] = compiling[engine]
            self.rows.append(row)

    def _outside(self) -> Path:
        assert self.folder is not None, "jobs_of names no outside peer without a folder"
        return self.folder

    def _start(
        self,
        algo: str,
        setting: Setting,
        engines: tuple[str, ...],
        seconds: dict[str, list[float]],
        start: int,
        task: Path,
    ) -> tuple[dict[str, float], float, dict[str, float]]:
        """Start a process for each engine and let them take turns, in `seconds`.

        With the first start, gradients are compared, which takes memory too: that of the last start counts.

        Args:
            task: where the task is written for peers that cannot import this project.

        Returns:
            Peak memory of each, FLOPs, and the seconds that the peers in other environments took to compile.
        """
        context, threads = get_context("spawn"), torch.get_num_threads()
        workers: list[Any] = []
        pipes: dict[str, Any] = {}
        elsewhere = [engine for engine in engines if engine in outside.OUTSIDE]
        if elsewhere:
            peer_task_of(algo, setting).save(task)
        for engine in engines:
            if engine in elsewhere:
                pipes[engine] = outside.Started(self._outside(), engine, task, threads)
                workers.append(pipes[engine])
                continue
            pipes[engine], end = context.Pipe()
            workers.append(context.Process(target=work, args=(end, algo, setting, engine, self.device), daemon=True))
            workers[-1].start()
            end.close()

        def ask(engine: str, what: str) -> Any:
            try:
                pipes[engine].send(what)
                return pipes[engine].recv()
            except (EOFError, OSError) as error:
                raise Failed(f"{algo}, {setting}: {engine} ended at `{what}`; its message is above") from error

        exact = [engine for engine in engines if engine not in ORDINARY]
        if start == 0:
            first = ask(exact[0], "check")
            for engine in exact[1:]:
                there = engine in elsewhere
                answer = outside.checked(self._outside(), engine, task, threads) if there else ask(engine, "check")
                _same(first, answer, f"{algo}, {setting}: {exact[0]} and {engine}")
        compiling = {engine: ask(engine, "compile") for engine in elsewhere}
        for turn in range(self.turns + 1):
            at = (start + turn) % len(engines)
            for engine in engines[at:] + engines[:at]:  # none comes first more often, and none after itself
                time.sleep(0.05)  # until the threads of the one before have gone to sleep
                took = ask(engine, "step")
                if turn:  # the first warms up
                    seconds[engine].append(took)
        memory = {engine: ask(engine, "memory") for engine in engines}
        flops: float = ask("loop" if "loop" in engines else engines[0], "flops")
        for engine, worker in zip(engines, workers, strict=True):
            pipes[engine].send("end")
            worker.join()
        return memory, flops, compiling


class Failed(Exception):
    """A comparison that gave no rows, in one line."""


def _same(a: dict[str, Any], b: dict[str, Any], what: str) -> None:
    """Raise Failed unless two gradients are equal: to 1e-6 of the norm, in double precision."""
    if set(a) != set(b):
        raise Failed(f"{what}: gradients of {sorted(a)} and of {sorted(b)}")
    off = sum(((a[name] - b[name]) ** 2).sum() for name in a) ** 0.5
    norm = sum((value**2).sum() for value in a.values()) ** 0.5
    if not off <= 1e-6 * norm:
        raise Failed(f"{what}: gradients differ by {off / norm:.1e} of their norm")


Job = tuple[str, Setting, tuple[str, ...]]


def jobs_of(device: str, folder: Path | None = None) -> list[Job]:
    """All comparisons on a device: algorithm, setting, engines; with the peers that are in a folder."""
    kept = (KEPT,) if device == "cpu" else ()
    there = [name for name in outside.OUTSIDE if folder and device == "cpu" and outside.version(folder, name)]
    more = lambda algo: tuple(there) if algo in outside.ALGORITHMS else ()
    jobs: list[Job] = [
        (algo, setting, (*OURS, *PEERS, *kept, *(ORDINARY if algo == "anil" else ()), *more(algo)))
        for algo in ALGORITHMS for setting in SETTINGS
    ]  # fmt: skip
    jobs += [(algo, setting, (*OURS, *PEERS)) for setting in NETWORK_SETTINGS for algo in ("maml", "anil")]
    done = {str(setting) for setting in SETTINGS}
    for setting in (s for settings in GROWTH.values() for s in settings):
        if str(setting) not in done:
            done.add(str(setting))
            jobs.append(("maml", setting, (*OURS, "loop")))
    return jobs + [("maml", setting, (CHOSEN[device],)) for setting in LONG]


def measure(
    device: str, jobs: list[Job], starts: int, turns: int, folder: Path | None, failed: list[str]
) -> dict[str, Any]:
    """Measure comparisons on one device; add those that failed to `failed`. Ctrl-C leaves out the rest."""
    bench = Bench(device, starts, turns, folder)
    with Progress().counting(f"{device}: comparisons", len(jobs)) as done:
        for number, job in enumerate(jobs, start=1):
            try:
                bench.compare(*job)
            except Failed as error:
                failed.append(f"{device}: {error}")
                print(failed[-1], flush=True)
            except KeyboardInterrupt:
                failed.append(f"{device}: interrupted at {job[0]}, {job[1]}")
                break
            done(number)
    return {"rows": bench.rows, "matmul_gflops": bench.rate / 1e9, "end_to_end": end_to_end(device, 105)}


def main() -> None:
    """Measure, show, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--device", choices=["cpu", "cuda"], action="append")
    parser.add_argument("--network", choices=NETWORKS, action="append", default=[])
    parser.add_argument("--algo", choices=ALGORITHMS, action="append", default=[])
    parser.add_argument("--setting", type=int, action="append", default=[])
    parser.add_argument("--peers", type=Path, metavar="DIR")
    options = parser.parse_args()
    if options.starts < 1 or options.turns < 2:
        parser.error("--starts must be at least 1, --turns at least 2")
    folder = options.peers and options.peers.resolve()
    print(*outside.missing(folder), sep="\n")
    devices = options.device or ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    networks, algorithms = options.network or NETWORKS, options.algo or ALGORITHMS

    def asked(device: str) -> list[Job]:
        jobs = [job for job in jobs_of(device, folder) if job[1].network in networks and job[0] in algorithms]
        return [job for number, job in enumerate(jobs) if number in (options.setting or range(len(jobs)))]

    often = (1, 2) if options.quick else (options.starts, options.turns)
    failed: list[str] = []
    parts = {device: measure(device, asked(device), *often, folder, failed) for device in devices}
    results = joined(parts)
    if not options.quick and (HERE / "results.json").exists():
        results = updated(json.loads((HERE / "results.json").read_text()), results)
    show(results)
    if not options.quick:
        (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        (HERE / "table.md").write_text(markdown(results))
        pictures(results)
    sys.exit("\n".join(["without these comparisons:", *failed]) if failed else 0)


def joined(parts: dict[str, Any]) -> dict[str, Any]:
    """Join the parts of the devices."""
    name = torch.cuda.get_device_name() if "cuda" in parts else platform.processor() or platform.machine()
    machine = f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    return {
        "command": "make speed",
        "machines": dict.fromkeys(parts, machine),
        "data": next(iter(parts.values()))["end_to_end"]["data"],
        "matmul_gflops": {device: part["matmul_gflops"] for device, part in parts.items()},
        "end_to_end": [part["end_to_end"] for part in parts.values()],
        "rows": [row for part in parts.values() for row in part["rows"]],
    }


def updated(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Take comparisons, and what is known of a device, from a measurement, and the rest from the one before."""
    key = lambda row: tuple(row[name] for name in ("network", "algo", "setting", "device"))
    rows: dict[Any, list[Any]] = {}
    for measured in (before["rows"], now["rows"]):  # rows of a comparison are all of one measurement
        fresh: dict[Any, list[Any]] = {}
        for row in measured:
            fresh.setdefault(key(row), []).append(row)
        rows |= fresh
    devices = {entry["device"]: entry for entry in [*before["end_to_end"], *now["end_to_end"]]}
    return {**now, "rows": [row for of in rows.values() for row in of], "end_to_end": [*devices.values()],
            **{name: {**before[name], **now[name]} for name in ("machines", "matmul_gflops")}}  # fmt: skip


if __name__ == "__main__":
    main()
