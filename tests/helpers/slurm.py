"""A Slurm of this machine, for tests: sbatch, srun, sacct and scontrol requeue, as far as submitit uses them.

`install` makes the commands in a folder for the PATH. Their state is beside them.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

COMMANDS = ("sbatch", "srun", "sacct", "scontrol")
JOB = "700"


def install(folder: Path) -> None:
    folder.mkdir()
    for name in COMMANDS:
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {folder} {name} "$@"\n')
        (folder / name).chmod(0o755)


def sbatch(state: Path, file: str) -> None:
    """Start all tasks of the array at once."""
    last = re.search(r"--array=0-(\d+)", Path(file).read_text())[1]
    for task in range(int(last) + 1):
        (state / f"state_{JOB}_{task}").write_text("RUNNING")
        with open(os.devnull) as null:
            subprocess.Popen([sys.executable, __file__, str(state), "task", file, str(task)], stdin=null,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    print(f"Submitted batch job {JOB}")


def task(state: Path, file: str, number: str) -> None:
    """Run a task of the array, and again each time that it was queued again."""
    text = Path(file).read_text()
    environment = {"SLURM_JOB_ID": str(int(JOB) + 1 + int(number)), "SLURM_ARRAY_JOB_ID": JOB, "SLURM_ARRAY_TASK_ID": number,
                   "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0", "SLURM_PROCID": "0",
                   "SLURM_LOCALID": "0", "SLURM_JOB_NODELIST": "localhost",
                   "SLURM_CPUS_PER_TASK": re.search(r"--cpus-per-task=(\d+)", text)[1]}  # fmt: skip
    again = state / f"requeue_{JOB}_{number}"
    while True:
        done = subprocess.run(["bash", file], env={**os.environ, **environment})
        if not again.exists():
            break
        again.unlink()
    (state / f"state_{JOB}_{number}").write_text("FAILED" if done.returncode else "COMPLETED")


def srun(state: Path, *words: str) -> None:
    """Become the command, with its output in files."""
    at = next(i for i, word in enumerate(words) if word.endswith("python") or "/python" in word)
    for option, stream in (("--output", 1), ("--error", 2)):
        name = words[words.index(option) + 1].replace("%A", JOB).replace("%a", os.environ["SLURM_ARRAY_TASK_ID"])
        os.dup2(os.open(name.replace("%t", "0"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.execvp(words[at], words[at:])


def sacct(state: Path, *words: str) -> None:
    print("JobID|State|NodeList")
    for file in state.glob("state_*"):
        print(f"{file.name.removeprefix('state_')}|{file.read_text()}|localhost")


def scontrol(state: Path, verb: str, job: str) -> None:
    assert verb == "requeue"
    (state / f"requeue_{job}").touch()


if __name__ == "__main__":
    globals()[sys.argv[2]](Path(sys.argv[1]), *sys.argv[3:])
