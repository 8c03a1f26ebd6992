"""The command `torchrun` with the exit status of the run, for schedulers and scripts.

    python -m metalearn.cli.torchrun --nproc-per-node 2 -m metalearn.run algo=maml

`torchrun` itself exits with 1 after any signal or failure, and SIGUSR1, which schedulers send before the time is up,
ends it at once. Here SIGUSR1 is forwarded to the processes as other signals are, and the status is 128 plus the
signal's number, or that of process 0.
"""

import os
import sys

from metalearn.runtime.distributed import LAUNCHER

SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"


def main(words: list[str]) -> int:
    """Run `torchrun` with these arguments; return the exit status."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    os.environ[LAUNCHER] = "python -m metalearn.cli.torchrun"
    args = run.parse_args(words)
    if hasattr(args, "signals_to_handle"):  # torch 2.9 and later
        args.signals_to_handle = SIGNALS
    try:
        run.run(args)
    except SignalException as stopped:
        return 128 + int(stopped.sigval)
    except ChildFailedError as error:
        failed = error.failures.get(0) or error.get_first_failure()[1]
        return failed.exitcode if failed.exitcode > 0 else 128 - failed.exitcode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
