"""The table, the remarks and the pictures of the speed table, from results.json."""

import textwrap
from pathlib import Path
from typing import Any

from engine_process import OURS, Setting
from settings import ALGORITHMS, GROWTH, KEPT, LONG, NETWORK_SETTINGS, ORDINARY, SETTINGS, TARGETS

from metalearn.runtime.console import say, table

HERE = Path(__file__).resolve().parent
COLOURS = {"higher": "#bbbbbb", "loop": "#888888", "grouped": "#2a9d4a", "vmap": "#8fd19e"}


def markdown(results: dict[str, Any]) -> str:
    """The tables of docs/performance.md, and the rest in words."""
    parts = []
    for device in dict.fromkeys(row["device"] for row in results["rows"]):
        parts += [f"On {results['machines'][device]}:", "", *table_of(results, device), ""]
    return "\n".join(parts) + (remarks(results) if any(row["device"] == "cpu" for row in results["rows"]) else "")


def table_of(results: dict[str, Any], device: str) -> list[str]:
    """Lines of the table of a device."""
    lines = [
        "| network | | setting | meta-steps/s | `vmap` | `higher` | loop | ratio | (our allocator) | floor | MB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    settings = [(algo, setting) for algo in ALGORITHMS for setting in SETTINGS]
    settings += [(algo, setting) for setting in NETWORK_SETTINGS for algo in ("maml", "anil")]
    for algo, setting in settings:
        of = rows_of(results, device, algo, setting)
        if not of:
            continue
        ours, kept = of["grouped" if device == "cpu" else "vmap"], of.get(KEPT)
        rate = lambda engine, of=of: f"{of[engine]['steps_per_second']:.2f}"
        low, high = ours["quartiles"]
        strict = ""
        if kept:
            strict = f"{min(ours['steps_per_second'] / r['steps_per_second'] for r in (of['higher'], kept)):.1f}"
        lines.append(
            f"| {setting.network} | {algo} | {setting} | {ours['steps_per_second']:.2f} ({low:.2f} to {high:.2f}) "
            f"| {rate('vmap')} | {rate('higher')} | {rate('loop')} | **{ours['ratio_to_best_peer']:.1f}** | {strict} "
            f"| {ours['fraction_of_floor']:.0%} | {ours['peak_memory_mb']:.0f} |"
        )
    return lines


def rows_of(results: dict[str, Any], device: str, algo: str, setting: Setting) -> dict[str, Any]:
    """The rows of a comparison by engine."""
    key = (setting.network, algo, str(setting), device)
    return {r["engine"]: r for r in results["rows"] if (r["network"], r["algo"], r["setting"], r["device"]) == key}


def remarks(results: dict[str, Any]) -> str:
    """ANIL against an ordinary pass, drawing and logging, recomputing, and the targets: on the CPU."""
    of = {
        (r["algo"], r["setting"], r["engine"]): r
        for r in results["rows"]
        if r["device"] == "cpu" and r["network"] == "conv4"
    }

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
        rows = [row for row in results["rows"] if row["device"] == device and row["network"] == "conv4"]
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


def show(results: dict[str, Any]) -> None:
    """The one table, and what else was measured."""
    cells = [
        [r["network"], r["algo"], r["setting"], r["engine"], r["device"], f"{r['steps_per_second']:.2f}",
         "{:.2f} to {:.2f}".format(*r["quartiles"]), f"{r['peak_memory_mb']:.0f}",
         "" if r["ratio_to_best_peer"] is None else f"{r['ratio_to_best_peer']:.2f}", f"{r['fraction_of_floor']:.0%}"]
        for r in results["rows"]
    ]  # fmt: skip
    table(
        f"meta-steps per second ({'; '.join(results['machines'].values())})",
        [
            "network",
            "algo",
            "setting",
            "engine",
            "on",
            "steps/s",
            "quartiles",
            "peak MB",
            "ratio to best peer",
            "of floor",
        ],
        cells,
    )
    for device, rate in results["matmul_gflops"].items():
        say(f"{device}: matrix products run at {rate:.0f} GFLOP/s; the floor is counted FLOPs at that rate")
    for entry in results["end_to_end"]:
        say(f"{entry['device']}: drawing tasks of {entry['data']} and logging: {entry['share']:.1%} of a training step")
