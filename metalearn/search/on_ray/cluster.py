"""The Ray cluster of a search: one on this machine, or one that runs and is checked before the first trial."""

import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

# Ray reads these when it is imported or started. It sends no usage reports, writes no logs of its own beside the
# study's record, and leaves Ctrl-C and the working folder of its processes alone
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from metalearn.runtime.console import say
from metalearn.runtime.errors import UserError
from metalearn.search.on_ray import node
from metalearn.search.plan import Plan

_TRIES = 3  # to start the cluster on this machine
_SECONDS = 10.0  # in which the head of a cluster must answer
_MEMORY = 100 * 2**20  # bytes of Ray's object store on this machine: trials exchange files, not objects


@dataclass
class Cluster:
    """The machines that train the trials of a search.

    Args:
        address: of a cluster that runs; None: one on this machine, for the time of the search.
        storage: a folder that all its machines see; None: the folder of the study.
        cpu: cores of a trial, and threads of its training.
        gpu: GPUs of a trial.
        workers: trials at the same time on this machine.
    """

    address: str | None
    storage: Path | None
    cpu: int
    gpu: float
    workers: int

    @classmethod
    def of(cls, asked: Plan) -> "Cluster":
        """Return the cluster that the settings of a search ask for."""
        settings, wanted = asked.settings, asked.settings.trial_resources
        here = max(1, torch.get_num_threads() // settings.workers)
        gpu = wanted.gpu if wanted.gpu is not None else float(asked.setup.device.startswith("cuda"))
        storage = Path(settings.storage_path).expanduser().absolute() if settings.storage_path else None
        cpu = wanted.cpu or (1 if settings.address else here)
        return cls(settings.address, storage, cpu, gpu, settings.workers)

    @property
    def resources(self) -> dict[str, float]:
        """The resources of a trial, as Ray names them."""
        return {"cpu": self.cpu, "gpu": self.gpu}

    def sessions(self, folder: Path, identity: str) -> Path:
        """Return the folder of Ray's experiments and their checkpoints.

        Args:
            folder: of the study.
            identity: of the study. Another of the same name has another folder.
        """
        return self.storage / f"{folder.name}_{identity}" if self.storage else folder.resolve() / "ray"

    def check(self, asked: Plan) -> None:
        """Check a cluster that runs: that it answers, and that each machine sees the folder, the packages and the data.

        Raises:
            UserError: the first that is missing somewhere, in one line.
        """
        if self.storage:
            try:
                self.storage.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"search.storage_path={self.storage}: {error.strerror or error}") from error
        if self.address is None:
            return
        assert self.storage is not None
        with self.started():
            nodes = [one for one in ray.nodes() if one["Alive"] and one["Resources"].get("CPU", 0) >= self.cpu]
            if not nodes:
                raise UserError(f"search.address={self.address}: no machine of it has {self.cpu} cores; lower "
                                "search.resources.cpu=")  # fmt: skip
            if self.gpu and not any(one["Resources"].get("GPU", 0) >= self.gpu for one in nodes):
                raise UserError(f"search.address={self.address}: no machine of it has {self.gpu:g} GPUs")
            for one in nodes:
                self._check_node(one, asked)
        say(f"search.address={self.address}: {len(nodes)} machines, {sum(_cores(one) for one in nodes):g} cores; each "
            "sees the folder, the packages and the data")  # fmt: skip

    def _check_node(self, one: Mapping[str, Any], asked: Plan) -> None:
        """Look at the parts of a machine from a process there, the cheap ones first."""
        assert self.storage is not None
        file = self.storage / f".{secrets.token_hex(8)}"
        with _written(file, file.name):
            problem = (
                node.not_seen(self._ask(one, node.sees, str(file), file.name), file)
                or node.other_version(self._ask(one, node.versions), node.versions())
                or node.other_data(self._ask(one, node.data, asked.setup.config, os.getcwd()), asked.spec["data set"])
            )
        if problem:
            raise UserError(f"search.address={self.address}: {_place(one)} {problem}")

    def _ask(self, one: Mapping[str, Any], look: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function on a machine of the cluster."""
        where = NodeAffinitySchedulingStrategy(node_id=one["NodeID"], soft=False)
        try:
            task: Any = ray.remote(look)
            return ray.get(task.options(num_cpus=0, max_retries=1, scheduling_strategy=where).remote(*arguments))
        except Exception as error:  # it cannot import metalearn, or has died
            why = f"cannot run metalearn: {_last_line(error)}"
            raise UserError(f"search.address={self.address}: {_place(one)} {why}") from error

    @contextmanager
    def started(self) -> Iterator[None]:
        """Connect this process to the cluster, or start the one on this machine, and end it afterwards."""
        folder = None
        try:
            _reach(self.address)
            common: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
            if self.address:
                ray.init(address=self.address, **common)
            else:
                folder = tempfile.mkdtemp(prefix="metalearn-ray-")
                start = partial(ray.init, num_cpus=self.workers * self.cpu, include_dashboard=False,
                                object_store_memory=_MEMORY, _temp_dir=folder, _node_ip_address="127.0.0.1",
                                **common)  # fmt: skip
                _patiently(start)
        except Exception as error:  # Ray raises Exception itself where a node is slow
            where = f"search.address={self.address}: no cluster answers" if self.address else "search.engine=ray"
            raise UserError(f"{where}: {_last_line(error)}") from error
        try:
            yield
        finally:
            ray.shutdown()
            if folder:
                shutil.rmtree(folder, ignore_errors=True)


def _patiently(start: Callable[[], object]) -> None:
    """Start the local cluster; again where a busy machine took longer than Ray waits (30 s)."""
    for left in reversed(range(_TRIES)):
        try:
            start()
            return
        except Exception as error:
            if not left or "timed out" not in str(error):
                raise
            ray.shutdown()


@contextmanager
def _written(path: Path, text: str) -> Iterator[None]:
    try:
        path.write_text(text)
        yield
    except OSError as error:
        raise UserError(f"search.storage_path={path.parent}: {error.strerror or error}") from error
    finally:
        for file in (path, node.answer(path)):
            with suppress(OSError):
                file.unlink(missing_ok=True)


def _reach(address: str | None) -> None:
    """Connect to an address for a moment: Ray itself tries for minutes.

    Raises:
        OSError, ValueError: nobody answers there, or it is no address.
    """
    host, colon, port = (address or "").rpartition(":")
    if colon:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()


def _place(one: Mapping[str, Any]) -> str:
    return f"the machine {one['NodeManagerHostname']} ({one['NodeManagerAddress']})"


def _cores(one: Mapping[str, Any]) -> float:
    return float(one["Resources"]["CPU"])


def _last_line(error: Exception) -> str:
    """Return the last line of an error, in which Ray repeats that of the other process."""
    return str(error).strip().splitlines()[-1].strip() if str(error).strip() else type(error).__name__
