"""The table, the remarks and the pictures of the speed table, from results.json."""

import textwrap
from pathlib import Path
from typing import Any

from engine_process import Setting
from outside import OUTSIDE
from settings import (
    ALGORITHMS,
    CHOSEN,
    GROWTH,
    KEPT,
    LABELS,
    LONG,
    NETWORK_SETTINGS,
    NETWORK_TARGETS,
    ORDINARY,
    SETTINGS,
    TARGETS,
)

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
    there = outside_of(results, device)
    lines = [
        "| network | | setting | meta-steps/s | `vmap` | `higher` | loop | ratio | (our allocator) | floor | MB |"
        + "".join(f" `{name}` |" for name in there),
        "|---|---|---|---|---|---|---|---|---|---|---|" + "---|" * len(there),
    ]
    settings = [(algo, setting) for algo in ALGORITHMS for setting in SETTINGS]
    settings += [(algo, setting) for setting in NETWORK_SETTINGS for algo in ("maml", "anil")]
    for algo, setting in settings:
        of = rows_of(results, device, algo, setting)
        if not of:
            continue
        ours, kept = of[CHOSEN[device]], of.get(KEPT)
        rate = lambda engine, of=of: f"{of[engine]['steps_per_second']:.2f}"
        low, high = ours["quartiles"]
        strict = ""
        if kept:
            strict = f"{min(ours['steps_per_second'] / r['steps_per_second'] for r in (of['higher'], kept)):.1f}"
        lines.append(
            f"| {setting.network} | {algo} | {setting} | {ours['steps_per_second']:.2f} ({low:.2f} to {high:.2f}) "
            f"| {rate('vmap')} | {rate('higher')} | {rate('loop')} | **{ours['ratio_to_best_peer']:.1f}** | {strict} "
            f"| {ours['fraction_of_floor']:.0%} | {ours['peak_memory_mb']:.0f} |"
            + "".join(f" {against(ours, of.get(name))} |" for name in there)
        )
    return [*lines, *words_on(results, device, there)]


def outside_of(results: dict[str, Any], device: str) -> list[str]:
    """The peers in an environment of their own that were measured on a device."""
    measured = {row["engine"] for row in results["rows"] if row["device"] == device}
    return [name for name in OUTSIDE if name in measured]


def against(ours: dict[str, Any], theirs: dict[str, Any] | None) -> str:
    """Meta-steps a second of a peer, and the ratio of ours to it; bold where the peer is faster."""
    if theirs is None:
        return ""
    ratio = ours["steps_per_second"] / theirs["steps_per_second"]
    words = f"{number(theirs['steps_per_second'])} ({number(ratio)} times), {theirs['peak_memory_mb']:.0f} MB"
    return f"**{words}: faster**" if ratio < 1 else words


def number(value: float) -> str:
    """Two digits after the point, or after the zeros behind it."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def words_on(results: dict[str, Any], device: str, there: list[str]) -> list[str]:
    """A sentence on the peers in an environment of their own: versions, and what compiling took."""
    if not there:
        return []
    rows = [row for row in results["rows"] if row["device"] == device and row["engine"] in there]
    versions = {row["engine"]: row["version"] for row in rows}
    took = [row["compile_seconds"] for row in rows if row["engine"] == "jax"]
    words = ", ".join(f"{name} {versions[name]}" for name in there)
    words += ": meta-steps/s, how many times as fast ours are, and peak memory."
    if took:
        words += f" JAX compiled for {min(took):.0f} to {max(took):.0f} s before its first step, which is not counted."
    return ["", textwrap.fill(words, 120, break_on_hyphens=False)]


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
        + slower(results)
    )
    return "\n" + textwrap.fill(words, 120, break_on_hyphens=False) + "\n"


def slower(results: dict[str, Any]) -> str:
    """Name the rows in which a peer is faster; empty if there is none."""
    found = [
        f"{r['network']}, {r['algo']}, {r['setting']}: {r['ratio_to_best_peer']:.2f}"
        for r in results["rows"]
        if r["engine"] == CHOSEN[r["device"]] and (r["ratio_to_best_peer"] or 1) < 1
    ]
    return f" Slower than the faster peer: {'; '.join(found)}." if found else ""


def pictures(results: dict[str, Any]) -> None:
    """Ratios to the faster peer with the targets, and how the cost grows; what was not measured is left out."""
    import matplotlib

    matplotlib.use("Agg")
    for device in dict.fromkeys(row["device"] for row in results["rows"]):
        panels = [
            (algo, [(rows_of(results, device, algo, setting), label, aim)
                    for setting, label, aim in zip(SETTINGS, LABELS, TARGETS[algo], strict=True)])
            for algo in ALGORITHMS
        ]  # fmt: skip
        _ratios(panels, device, HERE / f"ratios_{device}.png")
        panels = [
            (f"{algo}, {('1 query, 1 step, 8 tasks', '15 queries, 5 steps, 4 tasks')[which]}",
             [(rows_of(results, device, algo, setting), setting.network.replace(" ", "\n"), NETWORK_TARGETS[which])
              for setting in NETWORK_SETTINGS[which::2]])
            for algo in ("maml", "anil") for which in (0, 1)
        ]  # fmt: skip
        _ratios(panels, device, HERE / f"networks_{device}.png")
        _growth(results, device)


Panel = tuple[str, list[tuple[dict[str, Any], str, float]]]  # title; rows by engine, label and target


def _ratios(panels: list[Panel], device: str, path: Path) -> None:
    import matplotlib.pyplot as plt

    panels = [(title, kept) for title, bars in panels if (kept := [bar for bar in bars if bar[0]])]
    if not panels:
        return
    figure, axes = plt.subplots(1, len(panels), figsize=(14, 3.8), layout="constrained", sharey=True, squeeze=False)
    for axis, (title, bars) in zip(axes[0], panels, strict=True):
        for i, (of, _, aim) in enumerate(bars):
            for k, (engine, colour) in enumerate(COLOURS.items()):
                label = engine if i == 0 else None
                axis.bar(i + 0.2 * (k - 1.5), of[engine]["ratio_to_best_peer"], 0.2, color=colour, label=label)
            if device == "cpu":
                axis.hlines(aim, i - 0.4, i + 0.4, color="#d1362f", label="target" if i == 0 else None)
        axis.set_title(title, fontsize=10)
        axis.set_xticks(range(len(bars)), [label for _, label, _ in bars], fontsize=8)
    axes[0][0].set_ylabel("speed against the faster peer")
    axes[0][-1].legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _growth(results: dict[str, Any], device: str) -> None:
    import matplotlib.pyplot as plt

    rows = [r for r in results["rows"] if (r["device"], r["network"], r["algo"]) == (device, "conv4", "maml")]
    ours = CHOSEN[device]
    of = {(r["engine"], r["setting"]): 1e3 / r["steps_per_second"] for r in rows}
    if any((ours, str(setting)) not in of for settings in GROWTH.values() for setting in settings):
        return
    figure, axes = plt.subplots(1, 4, figsize=(14, 3.2), layout="constrained")
    for axis, (what, settings) in zip(axes, GROWTH.items(), strict=True):
        numbers = [_number(what, setting) for setting in settings]
        for engine, colour in (("loop", "#888888"), (ours, "#2a9d4a")):
            axis.plot(numbers, [of[engine, str(s)] for s in settings], marker="o", color=colour, label=engine)
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
