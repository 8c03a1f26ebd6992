"""Meta-steps per second and memory of every engine, side by side.

Command: `make speed`, or `python experiments/speed/benchmark.py`.

Every engine has a process of its own; they take turns of half a second (one meta-step at least), on the same tasks and
from the same weights. Each is started three times, for one process of the same engine is faster or slower than another
by up to a tenth for all its life. First their gradients in double precision are compared. Writes results.json, table.md
and the pictures beside this file.

    --quick     one start and two turns, for a look: writes nothing
    --device    cpu or cuda; by default both, where there is CUDA
"""

import argparse
import json
import platform
import statistics
import sys
import textwrap
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import torch  # noqa: E402
from engine_process import LR, OURS, PEERS, Setting, matmul_rate, work  # noqa: E402
from rich.progress import track  # noqa: E402

from metalearn.runtime.console import say, table  # noqa: E402

ALGORITHMS = tuple(LR)
SETTINGS = (Setting(5, 1, 1, 1, 32), Setting(5, 1, 15, 1, 32), Setting(5, 1, 15, 5, 32), Setting(20, 1, 1, 5, 16))
GROWTH = {
    "ways": [Setting(way, 1, 1, 1, 16) for way in (5, 10, 20)],
    "shots": [Setting(5, shot, 1, 1, 16) for shot in (1, 5, 10)],
    "inner steps": [Setting(5, 1, 1, steps, 16) for steps in (1, 5, 10)],
    "tasks in a meta-batch": [Setting(5, 1, 1, 1, tasks) for tasks in (8, 16, 32, 64)],
}
LONG = (Setting(5, 1, 1, 5, 8, False), Setting(5, 1, 1, 50, 8, False), Setting(5, 1, 1, 50, 8, True))
TARGETS = {  # ratio to the faster peer on 2 CPU cores: with 1 query, with 15 queries, 5 steps, 20 ways
    "maml": (3.0, 1.3, 2.0, 1.8), "fomaml": (2.5, 1.2, 1.2, 1.0), "anil": (3.5, 1.2, 1.2, 1.0),
    "reptile": (2.0, 1.2, 1.2, 1.0)}  # fmt: skip
KEPT = "loop, our allocator"
ORDINARY = ("ordinary, our allocator",)  # one forward and backward pass over the same images: what ANIL is held against
COLOURS = {"higher": "#bbbbbb", "loop": "#888888", "grouped": "#2a9d4a", "vmap": "#8fd19e"}


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
        medians = {engine: statistics.median(taken) for engine, taken in seconds.items()}
        best = min((medians[e] for e in PEERS if e in medians), default=None)
        for engine, peak in memory.items():
            low, _, high = statistics.quantiles(seconds[engine], n=4)
            row = {
                "algo": algo, "setting": str(setting), "engine": engine, "device": self.device,
                "steps_per_second": 1 / medians[engine], "quartiles": [1 / high, 1 / low],
                "turns": len(seconds[engine]), "starts": self.starts, "peak_memory_mb": peak,
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


def markdown(results: dict[str, Any]) -> str:
    """What the README says: the table, and the rest in words."""
    lines = [
        "| | setting | meta-steps/s | `higher` | loop | ratio | (their allocator as ours) | floor | MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    rows = results["rows"]
    for device in dict.fromkeys(row["device"] for row in rows):
        for algo in ALGORITHMS:
            for setting in map(str, SETTINGS):
                of = {r["engine"]: r for r in rows if (r["algo"], r["setting"], r["device"]) == (algo, setting, device)}
                ours, kept = of["grouped" if device == "cpu" else "vmap"], of.get(KEPT)
                strict = min(
                    ours["steps_per_second"] / r["steps_per_second"] for r in (of["higher"], kept or of["loop"])
                )
                low, high = ours["quartiles"]
                lines.append(
                    f"| {algo} | {setting} | {ours['steps_per_second']:.2f} ({low:.2f} to {high:.2f}) "
                    f"| {of['higher']['steps_per_second']:.2f} | {of['loop']['steps_per_second']:.2f} "
                    f"| **{ours['ratio_to_best_peer']:.1f}** | {strict:.1f} | {ours['fraction_of_floor']:.0%} "
                    f"| {ours['peak_memory_mb']:.0f} |"
                )
    return "\n".join(lines) + "\n" + (remarks(results) if any(row["device"] == "cpu" for row in rows) else "")


def remarks(results: dict[str, Any]) -> str:
    """ANIL against an ordinary pass, drawing and logging, recomputing, and the targets: on the CPU."""
    of = {(r["algo"], r["setting"], r["engine"]): r for r in results["rows"] if r["device"] == "cpu"}

    def rate(algo: str, setting: Setting, engine: str = "grouped") -> float:
        return float(of[algo, str(setting), engine]["steps_per_second"])

    against = [rate("anil", setting, ORDINARY[0]) / rate("anil", setting) for setting in SETTINGS]
    share = next(entry["share"] for entry in results["end_to_end"] if entry["device"] == "cpu")
    few, kept, again = (of["maml", str(setting), "grouped"]["peak_memory_mb"] for setting in LONG)
    aims = [(algo, setting, aim) for algo in ALGORITHMS for setting, aim in zip(SETTINGS, TARGETS[algo], strict=True)]
    ratios = [of[algo, str(setting), "grouped"]["ratio_to_best_peer"] for algo, setting, _ in aims]
    missed = [
        f"{algo}, {setting}: {ratio:.1f} of {aim}"
        for (algo, setting, aim), ratio in zip(aims, ratios, strict=True)
        if ratio < aim
    ]
    words = (
        f"On the CPU, ANIL's meta-step took {min(against):.2f} to {max(against):.2f} of the time of one ordinary "
        "forward and backward pass over the same images (plain torch.nn, with this project's allocator setting). "
        f"Drawing tasks and logging took {share:.1%} of a training step. Second-order MAML with 50 inner steps and 8 "
        f"tasks took {again:.0f} MB recomputed and {kept:.0f} MB kept (with 5 steps, kept: {few:.0f} MB), at "
        f"{rate('maml', LONG[1]) / rate('maml', LONG[2]):.1f} times the time. Of this project's own targets, the red "
        f"lines in the picture, {len(aims) - len(missed)} of {len(aims)} are reached"
        + (f"; missed: {'; '.join(missed)}." if missed else ".")
    )
    return "\n" + textwrap.fill(words, 120, break_on_hyphens=False) + "\n"


def pictures(results: dict[str, Any]) -> None:
    """Ratios to the faster peer with the targets, and how the cost grows."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    for device in dict.fromkeys(row["device"] for row in results["rows"]):
        rows = [row for row in results["rows"] if row["device"] == device]
        figure, axes = plt.subplots(1, 4, figsize=(14, 3.8), layout="constrained", sharey=True)
        for axis, algo in zip(axes, ALGORITHMS, strict=True):
            for i, setting in enumerate(map(str, SETTINGS)):
                of = {r["engine"]: r for r in rows if (r["algo"], r["setting"]) == (algo, setting)}
                for k, (engine, colour) in enumerate(COLOURS.items()):
                    label = engine if i == 0 else None
                    axis.bar(i + 0.2 * (k - 1.5), of[engine]["ratio_to_best_peer"], 0.2, color=colour, label=label)
                if device == "cpu":
                    axis.hlines(TARGETS[algo][i], i - 0.4, i + 0.4, color="#d1362f", label="target" if i == 0 else None)
            axis.set_title(algo)
            axis.set_xticks(
                range(4), ["5-way\n1 query", "15 queries", "15 queries\n5 steps", "20-way\n5 steps"], fontsize=8
            )
        axes[0].set_ylabel("speed against the faster peer")
        axes[-1].legend(fontsize=8)
        figure.savefig(HERE / f"ratios_{device}.png", dpi=110)
        plt.close(figure)

        figure, axes = plt.subplots(1, 4, figsize=(14, 3.2), layout="constrained")
        for axis, (what, settings) in zip(axes, GROWTH.items(), strict=True):
            numbers = [_number(what, setting) for setting in settings]
            for engine, colour in (("loop", "#888888"), (OURS[0] if device == "cpu" else OURS[1], "#2a9d4a")):
                of = {
                    r["setting"]: r["steps_per_second"] for r in rows if r["algo"] == "maml" and r["engine"] == engine
                }
                axis.plot(numbers, [1e3 / of[str(s)] for s in settings], marker="o", color=colour, label=engine)
            axis.set(xlabel=what, ylim=(0, None), xticks=numbers)
        axes[0].set_ylabel("ms a meta-step (MAML)")
        axes[0].legend()
        figure.savefig(HERE / f"growth_{device}.png", dpi=110)
        plt.close(figure)


def _number(what: str, setting: Setting) -> int:
    return {"ways": setting.way, "shots": setting.shot, "inner steps": setting.steps}.get(what, setting.meta_batch)


def measure(device: str, starts: int, turns: int) -> dict[str, Any]:
    """All that is measured on one device."""
    bench = Bench(device, starts, turns)
    kept = (KEPT,) if device == "cpu" else ()
    jobs: list[tuple[str, Setting, tuple[str, ...]]] = [
        (algo, setting, (*OURS, *PEERS, *kept, *(ORDINARY if algo == "anil" else ())))
        for algo in ALGORITHMS for setting in SETTINGS
    ]  # fmt: skip
    done = {str(setting) for setting in SETTINGS}
    for setting in (s for settings in GROWTH.values() for s in settings):
        if str(setting) not in done:
            done.add(str(setting))
            jobs.append(("maml", setting, (*OURS, "loop")))
    jobs += [("maml", setting, OURS[:1] if device == "cpu" else OURS[1:]) for setting in LONG]
    for job in track(jobs, description=f"{device}: {len(jobs)} comparisons"):
        bench.compare(*job)
    return {"rows": bench.rows, "matmul_gflops": bench.rate / 1e9, "end_to_end": end_to_end(device, 105)}


def show(results: dict[str, Any]) -> None:
    """The one table, and what else was measured."""
    cells = [
        [r["algo"], r["setting"], r["engine"], r["device"], f"{r['steps_per_second']:.2f}",
         "{:.2f} to {:.2f}".format(*r["quartiles"]), f"{r['peak_memory_mb']:.0f}",
         "" if r["ratio_to_best_peer"] is None else f"{r['ratio_to_best_peer']:.2f}", f"{r['fraction_of_floor']:.0%}"]
        for r in results["rows"]
    ]  # fmt: skip
    table(
        f"meta-steps per second ({results['machine']})",
        ["algo", "setting", "engine", "on", "steps/s", "quartiles", "peak MB", "ratio to best peer", "of floor"],
        cells,
    )
    for device, rate in results["matmul_gflops"].items():
        say(f"{device}: matrix products run at {rate:.0f} GFLOP/s; the floor is counted FLOPs at that rate")
    for entry in results["end_to_end"]:
        say(f"{entry['device']}: drawing tasks of {entry['data']} and logging: {entry['share']:.1%} of a training step")


def main() -> None:
    """Measure, show, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], action="append")
    options = parser.parse_args()
    devices = options.device or ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    parts = {device: measure(device, *((1, 2) if options.quick else (3, 3))) for device in devices}
    name = torch.cuda.get_device_name() if "cuda" in parts else platform.processor() or platform.machine()
    results = {
        "command": "make speed",
        "machine": f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "data": parts[devices[0]]["end_to_end"]["data"],
        "matmul_gflops": {device: part["matmul_gflops"] for device, part in parts.items()},
        "end_to_end": [part["end_to_end"] for part in parts.values()],
        "rows": [row for part in parts.values() for row in part["rows"]],
    }
    show(results)
    if not options.quick:
        (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        (HERE / "table.md").write_text(markdown(results))
        pictures(results)


if __name__ == "__main__":
    main()
