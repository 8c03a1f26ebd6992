"""Give up soon on a server that cannot be reached."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException

SECONDS = 12  # an unreachable host is given up after this long
FAILURES = (OSError, RuntimeError, HTTPException)  # all that torchvision's downloads raise


def reachable(url: str) -> bool:
    """True if the server answers in time. In a thread, for a name look-up knows no time limit."""
    from urllib.error import HTTPError
    from urllib.request import urlopen

    answer: list[bool] = []

    def ask() -> None:
        try:
            urlopen(url, timeout=SECONDS).close()
            answer.append(True)
        except HTTPError:
            answer.append(True)  # the server is there; the download itself will say what is wrong
        except (OSError, HTTPException):
            pass

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return bool(answer)


@contextmanager
def patience() -> Iterator[None]:
    """Limit how long a connection may be silent; torchvision sets no limit, and would wait without end."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
