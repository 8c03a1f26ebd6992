"""The command line in processes of its own; with `Typist`, without waiting for the imports each time.

A process that has imported what is heavy (and computed nothing) forks a child for each; the child runs
`python -m metalearn.run` (or another module) as typed, with its own folder, environment, output and exit status.
"""

import atexit
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path


class Typist:
    """The side of the tests."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.processes"], stdin=subprocess.PIPE, text=True, stdout=subprocess.PIPE
        )

    def __call__(
        self, *words: str, cwd: Path, module: str = "metalearn.run", pictures: bool = False, **environment: str
    ) -> subprocess.CompletedProcess:
        out, error = self._folder / "out", self._folder / "error"
        order = {
            "words": words,
            "cwd": str(cwd),
            "environment": environment,
            "out": str(out),
            "error": str(error),
            "module": module,
            "pictures": pictures,
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        return subprocess.CompletedProcess(words, status, out.read_text(), error.read_text())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def child(order: dict) -> None:
    from metalearn.lifecycle import final_test

    for number, name in ((1, "out"), (2, "error")):
        os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(order["cwd"])
    os.environ.update(order["environment"])
    signal.alarm(600)  # a noisy machine is slow; this ends only what hangs
    if not order["pictures"]:
        final_test.pictures = lambda *a: {}
    sys.argv = ["metalearn", *order["words"]]
    try:
        runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()  # as at a regular exit: W&B waits for its files
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def begin(folder, *words, session=False, **environment):
    """Start the command line.

    Args:
        session: as in a terminal of its own, where Ctrl-C reaches the processes that it starts.
        environment: more variables; an empty one is removed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **environment}
    environment = {name: value for name, value in environment.items() if value}
    # Whatever started the tests may ignore signals (nohup, a job in the background): a user's shell does not
    heed = lambda: [
        signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "metalearn.run", *words],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=heed,
        start_new_session=session,
    )


def wait_for(condition, process):
    deadline = time.monotonic() + 300
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def finished(folder, *words):
    process = begin(folder, *words)
    out, error = process.communicate(timeout=600)
    assert process.returncode == 0, error
    return out


def refused(done, *messages, status=2, folder=None):
    """Check that a command ended in one line that says all this, with this exit status.

    Args:
        folder: nothing was trained below it.
    """
    assert done.returncode == status, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("metalearn: "), done.stderr
    for message in messages:
        assert message in lines[0], done.stderr
    assert folder is None or not list(folder.rglob("metrics.csv"))


def main() -> None:
    import hydra  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import torchvision  # noqa: F401

    import metalearn.lifecycle.launch  # noqa: F401

    for line in sys.stdin:
        if (number := os.fork()) == 0:
            child(json.loads(line))
        _, status = os.waitpid(number, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
