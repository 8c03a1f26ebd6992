"""A PostgreSQL server in a temporary folder, from the system's packages."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.helpers.required import missing

USER = "tester"


def programs() -> Path | None:
    """Return the folder of initdb and pg_ctl; Debian does not put them on the PATH."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    places = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: int(file.parts[-3].split(".")[0])
    )
    return places[-1].parent if places else None


class Server:
    """A server that listens on 127.0.0.1. It refuses to run as root, so that root runs it as nobody.

    Args:
        password: of the user; None admits everybody.
    """

    def __init__(self, password: str | None = None):
        self._programs = programs()
        if self._programs is None:
            missing("no PostgreSQL server on this machine (Debian: apt-get install postgresql)")
        self._folder = Path(tempfile.mkdtemp(prefix="metalearn-postgres-"))  # pytest's folders are closed to nobody
        self._owner = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
            self._owner = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        how = ["--auth=trust"]
        if password:
            (self._folder / "password").write_text(password)
            (self._folder / "password").chmod(0o644)
            how = ["--auth=scram-sha-256", f"--pwfile={self._folder / 'password'}"]
        self._call("initdb", "-D", self.data, "-U", USER, *how, "-E", "UTF8", "--locale=C", "--no-sync")
        self.start()

    @property
    def data(self) -> str:
        return str(self._folder / "data")

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = (
            f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off -c timezone=Asia/Kolkata"
        )
        self._call("pg_ctl", "-D", self.data, "-w", "-l", str(self._folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self._call("pg_ctl", "-D", self.data, "-w", "-m", "fast", "stop")

    def close(self) -> None:
        self._call("pg_ctl", "-D", self.data, "-w", "-m", "immediate", "stop", check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _call(self, program: str, *words: str, check: bool = True) -> None:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._folder), "LC_ALL": "C"}
        with open(self._folder / f"{program}.txt", "a") as out:  # a pipe would stay open in the server
            done = subprocess.run([self._programs / program, *words], cwd=self._folder, env=environment, stdout=out,
                                  stderr=out, stdin=subprocess.DEVNULL, timeout=120, **self._owner)  # fmt: skip
        if check and done.returncode:
            pytest.fail(f"{program}: {(self._folder / f'{program}.txt').read_text()}")
