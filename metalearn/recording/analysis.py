"""The tables of metalearn.analyze: scores with frozen layers, and CKA of each layer before and after adaptation."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from metalearn.algorithms.objective import objective_of
from metalearn.recording.summary import norm_words
from metalearn.runtime import console

Result = Mapping[str, Any]  # the content of an analysis's result.json
COLUMNS = ("layer", "frozen up to it", "difference", "frozen alone", "difference", "CKA")


def show(result: Result, folder: Path) -> None:
    """Print the table of one learner.

    Args:
        result: the content of the analysis's result.json.
        folder: of the analysis.
    """
    objective = objective_of(result)

    def cells(entry: Mapping[str, Any]) -> list[str]:
        difference = objective.spell_difference(entry["difference"], entry["difference_ci95"])
        return [objective.spell(entry["score"], entry["ci95"]), difference]

    rows = [["none", whole(result), "", "", "", ""]]
    for layer in result["layers"]:
        name = layer["layer"] if layer["adapted"] else f"{layer['layer']} (not adapted)"
        rows.append([name, *cells(layer["frozen_up_to"]), *cells(layer["frozen_alone"]), similarity(layer)])
    console.table(title([result]), COLUMNS, rows)
    unit = "in points, " if objective.bounded else ""
    console.say(f"{objective.name} at test, with none, one or the first layers frozen in the inner loop; frozen up to "
                f"{result['layers'][-1]['layer']}: 0 steps")  # fmt: skip
    console.say(f"difference: {unit}from none frozen, on the same tasks, with its paired 95% interval")
    console.say(
        "CKA: of a layer's outputs for the query inputs before and after adaptation, after its norm and before "
        "the activation"
    )
    console.say(f"record: {folder}")


def show_side_by_side(results: Sequence[Result]) -> None:
    """Print scores and CKA of several learners, a column for each; nothing for one learner."""
    if len(results) < 2:
        return
    objective, columns = objective_of(results[0]), labels(results)

    def score(layer: Mapping[str, Any]) -> str:
        return objective.spell(layer["frozen_up_to"]["score"], layer["frozen_up_to"]["ci95"])

    rows = [["none", *map(whole, results)], *_by_layer(results, score)]
    console.table(f"{objective.name} with the first layers frozen: {title(results)}", ["frozen up to", *columns], rows)
    console.table("CKA before and after adaptation", ["layer", *columns], _by_layer(results, similarity))
    if len({result["test_digest"] for result in results}) > 1:
        console.say("these learners had different tasks: set seed=, way=, shot=, query= and data= to compare them")


def whole(result: Result) -> str:
    """The score with nothing frozen, with its interval."""
    objective = objective_of(result)
    return objective.spell(result[f"test_{objective.name}"], result["test_ci95"])


def similarity(layer: Mapping[str, Any]) -> str:
    """The CKA of a layer, with its interval."""
    if layer["cka"] is None:
        return "undefined"
    return f"{layer['cka']:.3f}" + ("" if layer["cka_ci95"] is None else f" ± {layer['cka_ci95']:.3f}")


def labels(results: Sequence[Result]) -> list[str]:
    """Name each learner: by its algorithm, or by its run where several have the same algorithm; all names differ."""
    algorithms, runs = ([result[key] for result in results] for key in ("algo", "run"))
    names = [run if algorithms.count(algo) > 1 else algo for algo, run in zip(algorithms, runs, strict=True)]
    return [f"{name} ({number})" if names.count(name) > 1 else name for number, name in enumerate(names, 1)]


def title(results: Sequence[Result]) -> str:
    """The facts that all learners share: data, task, split, number of tasks, inner steps, batch norm; of one, all."""
    facts = [_facts(result) for result in results]
    shared = ", ".join(fact for fact in facts[0] if all(fact in other for other in facts))
    return f"{results[0]['algo']} on {shared}" if len(results) == 1 else shared


def layer_names(results: Sequence[Result]) -> list[str]:
    """Names of the layers, if all learners have the same; else their numbers."""
    names = [[layer["layer"] for layer in result["layers"]] for result in results]
    if all(own == names[0] for own in names):
        return names[0]
    return [str(number) for number in range(1, max(map(len, names)) + 1)]


def _facts(result: Result) -> list[str]:
    steps = result["inner_steps_test"]
    return [
        result["data"],
        objective_of(result).task_words(result["way"], result["shot"]),
        {"all": "all classes"}.get(result["part"], f"{result['part']} split"),
        f"{result['test_tasks']} tasks",
        f"{steps} inner step" + "s" * (steps != 1),
        norm_words(result["norm_mode"]),
    ]


def _by_layer(results: Sequence[Result], cell: Callable[[Mapping[str, Any]], str]) -> list[list[str]]:
    """A row for each layer, with a cell for each learner; empty where it has fewer layers."""
    return [
        [name, *(cell(r["layers"][number]) if number < len(r["layers"]) else "" for r in results)]
        for number, name in enumerate(layer_names(results))
    ]
