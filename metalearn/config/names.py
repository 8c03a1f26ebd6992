"""Find the setting that was meant: by its spelling, or by what other libraries call it."""

import difflib
from collections.abc import Iterable
from typing import Any

from metalearn.config.groups import CONF, package

OPEN = ("algo.", "model.", "data.", "control.cycle.")  # groups whose settings depend on the class that is chosen
_OUTER, _INNER, _BATCH = "outer.optimizer.lr", "algo.inner_optimizer.lr", "algo.meta_batch, the tasks in a meta-step"
_STEPS, _INNER_STEPS = "steps, the meta-steps", "algo.inner_steps and algo.inner_steps_test (meta-steps are steps)"
ELSEWHERE = {
    _STEPS: "epochs num_epochs max_epochs iterations num_iterations iters n_iter max_steps meta_steps train_steps",
    f"{_OUTER} (outer loop) or {_INNER} (inner loop)": "lr learning_rate",
    _INNER: "inner_lr fast_lr task_lr adapt_lr update_lr inner_learning_rate alpha step_size",
    _OUTER: "outer_lr meta_lr outer_learning_rate meta_learning_rate beta",
    _BATCH: "batch_size meta_batch_size meta_batch tasks_per_batch num_tasks task_batch_size episodes_per_batch",
    "way": "n_way n_ways num_ways nway ways num_classes classes_per_task",
    "shot": "k_shot k_shots num_shots n_shot nshot shots",
    "query": "n_query q_query num_queries k_query queries num_test_per_class",
    _INNER_STEPS: "num_steps inner_steps n_inner num_inner_steps adaptation_steps adapt_steps update_steps fast_steps",
    "outer.optimizer.name (outer loop) or algo.inner_optimizer.name (inner loop)": "optimizer optim optimiser",
    "algo.inner_optimizer.name": "inner_optim inner_opt",
    "model.filters (model=conv4) or model.hidden=[40,40] (model=mlp)": "hidden_size hidden_dim channels width",
    "data": "dataset data_name dataset_name",
    "data.root": "data_dir data_path data_root dataset_path root",
    "algo": "algorithm method learner",
    "model": "network backbone arch architecture net",
    "tracker": "logger logging wandb tensorboard",
    "device=cuda": "gpu gpus cuda accelerator use_gpu",
    "seed": "random_seed manual_seed rng",
    "algo=fomaml": "first_order second_order",
    "outer.schedule": "scheduler lr_scheduler schedule",
    "outer.warmup": "warmup_steps warmup_iters warmup_epochs num_warmup_steps",
    "outer.clip, the norm, or outer.clip_value": "grad_clip clip_grad max_grad_norm gradient_clip_val clip_norm",
    "outer.weight_decay": "weight_decay wd decay",
    "+control.cycle.NumberSinceBest.n": "patience early_stopping",
    "eval.every": "val_every eval_interval eval_freq val_interval validate_every",
    "eval.tasks and eval.test_tasks": "eval_tasks test_tasks num_eval_tasks val_tasks test_episodes",
    "hydra.run.dir": "output_dir out_dir log_dir save_dir logdir output run_dir",
}
_FOREIGN = {name: meant for meant, names in ELSEWHERE.items() for name in names.split()}
OPTIMIZERS = {"adamw": "AdamW", "rmsprop": "RMSprop", "adagrad": "Adagrad", "nadam": "NAdam", "radam": "RAdam",
              "adamax": "Adamax", "adadelta": "Adadelta", "rprop": "Rprop", "asgd": "ASGD"}  # fmt: skip


def suggestion(key: str) -> str:
    """Suggest what to write instead of an unknown setting, as ` (did you mean ...?)`, or nothing.

    Args:
        key: the name without a value, such as `algo.lr`.
    """
    known = _known()
    if choices := known.get(key):  # it exists, but not in what is chosen
        return f" in what is chosen; it belongs to {' and '.join(choices)}"
    if not (close := _close(key, known, 0.85)) and (foreign := elsewhere(key)):
        return foreign
    close = close or _close(key, known, 0.7 if key.startswith(OPEN) else 0.6)
    return f" (did you mean {close}?)" if close else ""


def elsewhere(key: str) -> str:
    """Translate the name of a setting in other libraries, as ` (here it is ...)`, or nothing."""
    meant = _FOREIGN.get(key.rpartition(".")[2].lower())
    return f" (here it is {meant})" if meant else ""


def _close(key: str, known: Iterable[str], least: float) -> str | None:
    """The known name that is spelled most alike; what it shares with the group's name does not count.

    Args:
        least: how much must be alike, from 0 to 1.
    """
    group = next((group for group in OPEN if key.startswith(group)), "")
    names = [name.removeprefix(group) for name in known if name.startswith(group) and name != group]
    found = difflib.get_close_matches(key.removeprefix(group), names, n=1, cutoff=least)
    return f"{group}{found[0]}" if found else None


def for_choice(group: str, choice: str) -> str:
    """Suggest what to write instead of a choice that a group does not have; or nothing."""
    name = OPTIMIZERS.get(choice.lower())
    return f"; for this optimizer: outer.optimizer.name={name}" if group == "outer" and name else ""


def _known() -> dict[str, list[str]]:
    """The dotted names of all settings, each with the choices (`algo=maml`) that have it."""
    from omegaconf import OmegaConf

    known: dict[str, list[str]] = {group.name: [] for group in CONF.iterdir() if group.is_dir()}
    for file in sorted(CONF.rglob("*.yaml")):
        group = file.parent.relative_to(CONF).as_posix()
        if group.startswith(("hydra", "experiment")):
            continue
        content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        assert isinstance(content, dict)
        for name in _paths(content, package(file.read_text(), group)):
            choices = known.setdefault(name, [])
            if name.startswith(f"{group}.") and not file.stem.startswith("_"):
                choices.append(f"{group}={file.stem}")
    return known


def _paths(content: dict[Any, Any], prefix: str) -> list[str]:
    """The dotted names of all settings in a configuration file."""
    found = []
    for name, value in content.items():
        if name not in ("defaults", "_target_", "hydra"):
            found.append(f"{prefix}{name}")
            found += _paths(value, f"{prefix}{name}.") if isinstance(value, dict) else []
    return found
