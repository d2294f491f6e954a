"""What all commands do with their command line and their help, beyond what typer does."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stdout
from inspect import cleandoc
from io import StringIO
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from rxmps3.cli.terminal import Exit, let_go_of_stdout, writing_to_stdout

__all__ = ["App", "leaving_quietly"]

_LINE_END = re.compile(r"(?<!\n)\n(?!\n)")
"""Within a paragraph."""


class App(typer.Typer):
    """A typer application whose commands refuse an option given twice, and whose help may go anywhere."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(cls=_Group, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """As `typer.Typer.command`."""
        return super().command(name, cls=_Command, **settings)


class _Command(TyperCommand):
    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        if self.help:  # rich would keep the docstring's line ends, whatever the width of the terminal
            self.help = _LINE_END.sub(" ", cleandoc(self.help))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # which of two values counts is a guess: one may be for another key, another manifest or another person
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for option, times in Counter(one for one in order if isinstance(one, TyperOption)).items():
            may_repeat = option.multiple or option.count or (_is_flag(option) and not option.secondary_opts)
            if times > 1 and not may_repeat:
                ctx.fail(f"{_names(option)} is given {times} times, and takes one value")
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        with _help():
            super().format_help(ctx, formatter)


class _Group(TyperGroup):
    def format_help(self, ctx: Any, formatter: Any) -> None:
        with _help():
            super().format_help(ctx, formatter)


def _is_flag(option: TyperOption) -> bool:
    return bool(option.is_flag)  # pyright: ignore[reportUnknownMemberType]


def _names(option: TyperOption) -> str:
    if option.secondary_opts:
        return f"{option.opts[0]} or {option.secondary_opts[0]}"
    return option.opts[0]


@contextmanager
def _help() -> Generator[None]:
    """Write help like every result: rich ends the process in its own way if it cannot be written."""
    if sys.stdout.isatty():
        yield
        return
    with redirect_stdout(StringIO()) as text:
        yield
    with leaving_quietly(), writing_to_stdout():
        sys.stdout.write(text.getvalue())


@contextmanager
def leaving_quietly() -> Generator[None]:
    """End the command with its exit code if the reader of the output is gone, before typer does so with another."""
    try:
        yield
    except BrokenPipeError:
        let_go_of_stdout()
        raise typer.Exit(Exit.PIPE_CLOSED) from None
