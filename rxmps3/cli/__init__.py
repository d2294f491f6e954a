"""The command ``rxmps3``: read, change and watch a database from a shell or from other programs."""

from __future__ import annotations

import sys
from importlib import import_module

__all__ = ["main"]

_COMMANDS = (
    "past_commands",
    "upkeep_commands",
    "doctor_command",
    "policy_command",
    "outbox_command",
    "studio_command",
    "bell_command",
)


def main() -> None:
    """The entry point. The imports are deferred, so that ``import rxmps3`` stays light."""
    try:
        if sys.argv[1:2] == ["get"]:
            from rxmps3.cli.reading import plain_get

            plain_get(sys.argv[1:])
        from rxmps3.cli.commands import main as perform

        for name in _COMMANDS:  # each adds its words
            import_module(f"rxmps3.cli.{name}")
    except KeyboardInterrupt:
        sys.exit(130)
    perform()
