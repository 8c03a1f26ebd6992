"""Settings of the speed table."""

from engine_process import LR, Setting
from networks import NETWORKS

ALGORITHMS = tuple(LR)
CHOSEN = {"cpu": "grouped", "cuda": "vmap"}  # what engine.kernel=auto chooses
SETTINGS = (Setting(5, 1, 1, 1, 32), Setting(5, 1, 15, 1, 32), Setting(5, 1, 15, 5, 32), Setting(20, 1, 1, 5, 16))
LABELS = ("5-way\n1 query", "15 queries", "15 queries\n5 steps", "20-way\n5 steps")
# Of the networks besides Conv4, for MAML and ANIL
NETWORK_SETTINGS = tuple(
    Setting(*numbers, network=network)
    for network in NETWORKS
    if network != "conv4"
    for numbers in ((5, 1, 1, 1, 8), (5, 1, 15, 5, 4))
)
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
NETWORK_TARGETS = (1.5, 1.2)  # of the other networks: with 1 query, with 15 queries and 5 steps
KEPT = "loop, our allocator"
ORDINARY = ("ordinary, our allocator",)  # one forward and backward pass over the same images: what ANIL is held against
