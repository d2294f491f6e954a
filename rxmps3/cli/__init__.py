"""The command ``rxmps3``: look into a database, change it and watch it, from a shell or from other programs."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """The entry point. What it takes is imported here only, so that ``import rxmps3`` stays light."""
    try:
        from rxmps3.cli.upkeep import main as perform
    except KeyboardInterrupt:
        sys.exit(130)
    perform()
