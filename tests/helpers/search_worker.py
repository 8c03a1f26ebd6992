"""A worker of a study in a database, with a toy for a training: `python -m tests.helpers.search_worker JSON`.

Each begin and end of a trial is a line in a file that all workers share.
"""

import json
import os
import sys
import time
from pathlib import Path

import optuna

from metalearn.controls.loop import Paused
from metalearn.runtime.signals import Signals, Stopped
from metalearn.search import study_loop
from metalearn.search.database import Database
from metalearn.search.parse import parse
from metalearn.search.settings import Goal
from metalearn.search.storage import open_record, quiet_optuna
from metalearn.search.study import OWN, Study

STEPS = 5


def main(order: dict) -> int:
    log, signals = Path(order["log"]), Signals()

    def note(*words) -> None:
        with open(log, "a") as file:  # one write, so that lines of several workers do not mix
            file.write(" ".join(map(str, words)) + "\n")

    def train(candidate):
        note("begin", candidate.number, os.getpid())
        x = candidate.values["x"]
        for step in range(STEPS):
            time.sleep(order["seconds"] / STEPS)
            signals.check()
            reason = candidate.controls[OWN]._report(step, (x - 1) ** 2 + 1 / (step + 1))
            if reason:
                raise Paused(reason)
        note("end", candidate.number, os.getpid())
        return [(x - 1) ** 2]

    database = Database(order["url"], order["name"], order["heartbeat"])
    space = parse(["x=interval(-3, 3)"])
    sampler = optuna.samplers.RandomSampler()
    with signals, quiet_optuna():
        record = open_record(
            log.parent, {"space": space.describe()}, sampler, optuna.pruners.NopPruner(), ["minimize"], database
        )
        study = Study(record=record, space=space, goals=[Goal("loss", False)], trials=order["trials"],
                      exclusive=database.exclusive, worker=database.worker)  # fmt: skip
        database.patience.check = signals.check
        note("ready", os.getpid())
        try:
            study_loop.run(study, train, failures=5, check=signals.check)
        except Stopped as stopped:
            return stopped.status
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
