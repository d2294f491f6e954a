"""Runs several commands one after the other in this one process, which saves what Python takes to start.

Reads a JSON array of ``{"arguments": […], "stdin": "…"}``, writes a JSON array of ``[code, out, err]``.
"""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from rxmps3.cli import main


def text(content: io.BytesIO) -> io.TextIOWrapper:
    return io.TextIOWrapper(content, encoding="ascii", newline="\n", write_through=True)


def perform(arguments: list[str], stdin: str) -> list[Any]:
    out, err = io.BytesIO(), io.BytesIO()
    before, sys.argv, sys.stdin = sys.stdin, ["rxmps3", *arguments], text(io.BytesIO(stdin.encode()))
    code: Any = None
    contents: list[str] = []
    try:
        with text(out) as new_out, text(err) as new_err, redirect_stdout(new_out), redirect_stderr(new_err):
            try:
                main()
            finally:
                contents = [out.getvalue().decode(), err.getvalue().decode()]
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.stdin = before
    return [code, *contents]


if __name__ == "__main__":
    json.dump([perform(**each) for each in json.load(sys.stdin)], sys.stdout)
