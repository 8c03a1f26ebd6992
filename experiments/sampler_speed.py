"""Tasks per second of the sampler, by itself: `python experiments/sampler_speed.py [DATA_ROOT]`."""

import os
import sys
import time

import torch

from metalearn.data import omniglot
from metalearn.runtime.device import keep_freed_memory


def main() -> None:
    """Median over repeats of the seconds for one meta-batch, at several task sizes."""
    keep_freed_memory()
    root = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("METALEARN_DATA", "data")
    start = time.perf_counter()
    dataset = omniglot.load(
        root=root,
        split="random",
        split_seed=0,
        rotate_train=True,
        rotate_test=True,
        within_alphabet=False,
        download=False,
    )
    print(f"Omniglot loaded in {time.perf_counter() - start:.2f} s; {torch.get_num_threads()} threads, rotation on")
    source = dataset.source("train", 0, "cpu")
    print("way shot query meta-batch    tasks/s")
    for way, shot, query, tasks in ((5, 1, 1, 32), (5, 1, 5, 8), (5, 1, 15, 32), (20, 1, 1, 16)):
        seconds = []
        for step in range(300):
            start = time.perf_counter()
            source.tasks(torch.arange(step * tasks, (step + 1) * tasks), way, shot, query)
            seconds.append(time.perf_counter() - start)
        print(f"{way:3} {shot:4} {query:5} {tasks:10} {tasks / sorted(seconds)[150]:10.0f}")


if __name__ == "__main__":
    main()
