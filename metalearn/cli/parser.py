"""The command-line parser of metalearn.compare and metalearn.plot: a mistake is one line."""

import argparse
import sys
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, with exit status 2."""

    def error(self, message: str) -> NoReturn:
        """Print what was wrong, and exit."""
        print(f"metalearn: {message}; usage: {self.prog} --help", file=sys.stderr)
        sys.exit(2)
