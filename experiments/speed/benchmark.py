"""Meta-steps per second and memory of every engine, side by side.

Command: `make speed`, or `python experiments/speed/benchmark.py`.

Every engine has a process of its own; they take turns of half a second (one meta-step at least), on the same tasks and
from the same weights. Each is started three times, for one process of the same engine is faster or slower than another
by up to a tenth for all its life. First their gradients in double precision are compared. Writes results.json, table.md
and the pictures beside this file.

    --quick      one start and two turns, for a look: writes nothing
    --device     cpu or cuda; by default both, where there is CUDA
    --network    conv4, resnet12, ... (see networks.py); by default all. Rows of other networks are kept
    --algo       maml, anil, ...; by default all. Other rows are kept
"""

import argparse
import json
import platform
import statistics
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SLOW = 3  # seconds of a meta-step of which one start is enough
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import torch  # noqa: E402
from engine_process import OURS, PEERS, Setting, matmul_rate, work  # noqa: E402
from networks import NETWORKS  # noqa: E402
from report import markdown, pictures, show  # noqa: E402
from rich.progress import track  # noqa: E402
from settings import ALGORITHMS, GROWTH, KEPT, LONG, NETWORK_SETTINGS, ORDINARY, SETTINGS  # noqa: E402


class Bench:
    """Runs engines against each other and keeps the rows of results.json."""

    def __init__(self, device: str, starts: int, turns: int):
        self.device, self.starts, self.turns = device, starts, turns
        self.rate = matmul_rate(device)
        self.rows: list[dict[str, Any]] = []

    def compare(self, algo: str, setting: Setting, engines: tuple[str, ...]) -> None:
        """One row an engine."""
        seconds: dict[str, list[float]] = {engine: [] for engine in engines}
        for start in range(self.starts):
            memory, flops = self._start(algo, setting, engines, seconds, start)
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
            self.rows.append(row)

    def _start(
        self, algo: str, setting: Setting, engines: tuple[str, ...], seconds: dict[str, list[float]], start: int
    ) -> tuple[dict[str, float], float]:
        """Start a process for each engine and let them take turns, in `seconds`; peak memory of each, and FLOPs.

        With the first start, gradients are compared, which takes memory too: that of the last start counts.
        """
        context, workers, pipes = get_context("spawn"), [], {}
        for engine in engines:
            pipes[engine], end = context.Pipe()
            workers.append(context.Process(target=work, args=(end, algo, setting, engine, self.device), daemon=True))
            workers[-1].start()
            end.close()

        def ask(engine: str, what: str) -> Any:
            pipes[engine].send(what)
            return pipes[engine].recv()

        exact = [engine for engine in engines if engine not in ORDINARY]
        if start == 0:
            first = ask(exact[0], "check")
            for engine in exact[1:]:
                _same(first, ask(engine, "check"), f"{algo}, {setting}: {exact[0]} and {engine}")
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
        return memory, flops


def _same(a: dict[str, Any], b: dict[str, Any], what: str) -> None:
    """Stop unless two gradients are equal: to 1e-6 of the norm, in double precision."""
    off = sum(((a[name] - b[name]) ** 2).sum() for name in a) ** 0.5
    norm = sum((value**2).sum() for value in a.values()) ** 0.5
    if set(a) != set(b) or not off <= 1e-6 * norm:
        sys.exit(f"{what}: gradients differ by {off / norm:.1e} of their norm")


class Clock:
    """Adds up the time that functions take."""

    def __init__(self, device: str):
        self.device, self.seconds = device, 0.0

    def timed(self, function: Any) -> Any:
        """Wrap a function."""

        def call(*arguments: Any) -> Any:
            start = time.perf_counter()
            result = function(*arguments)
            if self.device != "cpu":
                torch.cuda.synchronize()
            self.seconds += time.perf_counter() - start
            return result

        return call


class TimedOuter:
    """An outer optimizer whose steps are timed."""

    def __init__(self, outer: Any, clock: Clock):
        self._outer, self.step = outer, clock.timed(outer.step)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outer, name)


def end_to_end(device: str, steps: int) -> dict[str, Any]:
    """The share of a training's time that is neither meta-gradient nor outer step: sampling tasks, and recording."""
    import tempfile

    from metalearn.config.compose import compose
    from metalearn.lifecycle.setup import prepare
    from metalearn.recording.record import Record
    from metalearn.recording.writer import RetryingWriter
    from metalearn.trackers.base import Trackers
    from metalearn.training.checkpoints import Checkpoints
    from metalearn.training.trainer import Trainer

    setup = prepare(compose(f"device={device}", "query=1", "algo.meta_batch=32", f"steps={steps}"))
    phase, clock = setup.phase, Clock(device)
    with tempfile.TemporaryDirectory() as folder:
        record = Record(Path(folder), Trackers({}), setup.objective.name, RetryingWriter())
        record.start()
        trainer = Trainer(
            algorithm=phase.algorithm,
            source=phase.source,
            outer=TimedOuter(phase.outer, clock),  # type: ignore[arg-type]
            executor=clock.timed(phase.executor),
            validate=None,
            record=record,
            checkpoints=Checkpoints(Path(folder), phase.spec, RetryingWriter()),
            run_state=lambda state: {"trainer": state, "controls": {}, "first": None, "environment": {}},
            device=setup.device,
            limit=steps,
            log_every=setup.settings.log_every,
        )
        trainer.train(5)
        clock.seconds, start = 0.0, time.perf_counter()
        while trainer.step < steps:
            trainer.train(steps)
        whole = time.perf_counter() - start
    return {"device": device, "data": setup.dataset.name, "share": 1 - clock.seconds / whole, "steps": steps}


Job = tuple[str, Setting, tuple[str, ...]]


def jobs_of(device: str) -> list[Job]:
    """All comparisons on a device: algorithm, setting, engines."""
    kept = (KEPT,) if device == "cpu" else ()
    jobs: list[Job] = [
        (algo, setting, (*OURS, *PEERS, *kept, *(ORDINARY if algo == "anil" else ())))
        for algo in ALGORITHMS for setting in SETTINGS
    ]  # fmt: skip
    jobs += [(algo, setting, (*OURS, *PEERS)) for setting in NETWORK_SETTINGS for algo in ("maml", "anil")]
    done = {str(setting) for setting in SETTINGS}
    for setting in (s for settings in GROWTH.values() for s in settings):
        if str(setting) not in done:
            done.add(str(setting))
            jobs.append(("maml", setting, (*OURS, "loop")))
    return jobs + [("maml", setting, OURS[:1] if device == "cpu" else OURS[1:]) for setting in LONG]


def measure(device: str, jobs: list[Job], quick: bool) -> dict[str, Any]:
    """Measure comparisons on one device."""
    bench = Bench(device, *((1, 2) if quick else (3, 3)))
    for job in track(jobs, description=f"{device}: {len(jobs)} comparisons"):
        bench.compare(*job)
    return {"rows": bench.rows, "matmul_gflops": bench.rate / 1e9, "end_to_end": end_to_end(device, 105)}


def main() -> None:
    """Measure, show, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], action="append")
    parser.add_argument("--network", choices=NETWORKS, action="append", default=[])
    parser.add_argument("--algo", choices=ALGORITHMS, action="append", default=[])
    options = parser.parse_args()
    devices = options.device or ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    asked = lambda job: job[1].network in (options.network or NETWORKS) and job[0] in (options.algo or ALGORITHMS)
    parts = {device: measure(device, [*filter(asked, jobs_of(device))], options.quick) for device in devices}
    results = joined(parts)
    if not options.quick and (HERE / "results.json").exists():
        results = updated(json.loads((HERE / "results.json").read_text()), results)
    show(results)
    if not options.quick:
        (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        (HERE / "table.md").write_text(markdown(results))
        pictures(results)


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
    """Take rows, and what is known of a device, from a measurement, and the rest from the one before."""
    key = lambda row: tuple(row[name] for name in ("network", "algo", "setting", "engine", "device"))
    rows = {key(row): row for row in [*before["rows"], *now["rows"]]}
    devices = {entry["device"]: entry for entry in [*before["end_to_end"], *now["end_to_end"]]}
    return {**now, "rows": [*rows.values()], "end_to_end": [*devices.values()],
            **{name: {**before[name], **now[name]} for name in ("machines", "matmul_gflops")}}  # fmt: skip


if __name__ == "__main__":
    main()
