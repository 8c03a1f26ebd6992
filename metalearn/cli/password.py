"""Keep the password of a search's database out of everything that is printed or recorded."""

import os
import re
import sys
from urllib.parse import unquote

from metalearn.cli.overrides import sets, value_of
from metalearn.config.quoting import hydra_quoted
from metalearn.runtime.console import warn

VARIABLE = "PGPASSWORD"  # PostgreSQL's own library reads it, in this process and in workers that it starts
_IN_ADDRESS = re.compile(r"(?<=://)([^:/@]*):([^@]*)(?=@)")
_IN_QUERY = re.compile(r"(?<=[?&])password=([^&]*)&?")


def hide_password() -> None:
    """Move a password in `search.storage=postgresql://USER:PASSWORD@HOST/DATABASE` to the environment.

    The command line of this process, from which messages and records are made, has the URL without it from then on.
    """
    for i, word in enumerate(sys.argv):
        if i and sets(word, "search.storage"):
            url, password = _without(value_of(word))
            if password is not None:
                os.environ[VARIABLE] = password
                sys.argv[i] = f"{word.partition('=')[0]}={hydra_quoted(url)}"
                sys.orig_argv[:] = [sys.argv[i] if other == word else other for other in sys.orig_argv]
                warn(
                    "search.storage: other users of this machine can read a password on the command line; give it by "
                    f"~/.pgpass or {VARIABLE} (docs/many-machines.md). It is neither printed nor recorded"
                )


def _without(url: str) -> tuple[str, str | None]:
    """Return a URL without its password, and the password."""
    found = [match[match.re.groups] for match in (_IN_ADDRESS.search(url), _IN_QUERY.search(url)) if match]
    if not found or "${" in found[-1]:  # a reference such as ${oc.env:NAME} is no secret
        return url, None
    bare = _IN_QUERY.sub("", _IN_ADDRESS.sub(r"\1", url)).rstrip("?&")
    return bare, unquote(found[-1])
