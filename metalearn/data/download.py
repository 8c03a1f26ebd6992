"""Downloads that give up soon if the server cannot be reached."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from metalearn.runtime.errors import NotFound

SECONDS = 12  # time limit of a connection attempt, and of silence on a connection
FAILURES = (OSError, RuntimeError, HTTPException)  # exceptions that torchvision's downloads raise


@contextmanager
def downloading(name: str, root: Path, url: str, how: str) -> Iterator[None]:
    """Context manager for the download of a data set.

    Args:
        name: of the data set, for messages.
        root: folder of the data, for messages.
        url: an address at the server; it is tried first.
        how: how to get the data by hand, for messages.

    Raises:
        NotFound: the server cannot be reached, or the download fails.
    """
    if not reachable(url):
        raise NotFound(f"{name} is not under data.root={root} and its server cannot be reached; {how}")
    try:
        with _time_limit():
            yield
    except FAILURES as error:
        raise NotFound(f"{name} could not be downloaded into data.root={root} ({error}); {how}") from error


def reachable(url: str) -> bool:
    """Return True if the server answers in time."""
    from urllib.error import HTTPError
    from urllib.request import urlopen

    answer: list[bool] = []

    def ask() -> None:
        try:
            urlopen(url, timeout=SECONDS).close()
            answer.append(True)
        except HTTPError:
            answer.append(True)  # the server is there; the download itself will report what is wrong
        except (OSError, HTTPException):
            pass

    thread = threading.Thread(target=ask, daemon=True)  # a thread, since a name look-up has no time limit
    thread.start()
    thread.join(SECONDS)
    return bool(answer)


@contextmanager
def _time_limit() -> Iterator[None]:
    """Limit the time that a connection may be silent. Torchvision sets no limit and would wait forever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
