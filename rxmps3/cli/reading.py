"""``rxmps3 get``, and a fast path for it.

Programs call ``rxmps3 get`` often. What reads command lines takes longer to import than the value takes to read, so a
line that needs no help to be understood does not import it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from rxmps3.cli.run import Run, Target, when_of
from rxmps3.cli.terminal import prepare_streams
from rxmps3.errors import InvalidOption
from rxmps3.model.missing import MISSING
from rxmps3.model.valuetext import Blob

__all__ = ["plain_get", "read_one"]


async def read_one(run: Run, key: str, *, raw: bool = False, at: str | None = None) -> None:
    """Print the value of a key."""
    if raw and run.at.json:
        raise InvalidOption("--raw and --json cannot be combined")
    async with run.deadline(), run.database() as db, run.terminal.busy("Reading"):
        value = await (db if at is None else await db.at(when_of(at))).get(key, MISSING)
    if value is MISSING:
        raise run.no_such_key(key, "" if at is None else f"at {at}")
    if raw and isinstance(value, str):
        run.terminal.raw(value + "\n")
    elif raw and isinstance(value, Blob):
        if sys.stdout.isatty():
            raise InvalidOption(f"{value!r} would be printed on the terminal", remedy="send the output to a file")
        run.terminal.bytes(value)
    else:
        run.terminal.value(value)


def plain_get(arguments: Sequence[str]) -> bool:
    """Do ``get URL KEY``, with ``--json`` or ``--raw`` or neither, and exit; False if the command line is another."""
    flags = {argument for argument in arguments if argument.startswith("-")}
    words = [argument for argument in arguments if argument not in flags]
    if len(words) != 3 or words[0] != "get" or flags - {"--json", "--raw"}:
        return False
    prepare_streams()
    run = Run("get", Target(words[1], json="--json" in flags))
    sys.exit(run.perform(partial(read_one, key=words[2], raw="--raw" in flags)))
