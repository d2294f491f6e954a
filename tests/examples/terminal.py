"""A program in a terminal of its own: what it shows is read, keys are pressed."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

from tests.docs.blocks import ROOT

CTRL_C = "\x03"


class Terminal:
    """The other end of a pseudo-terminal whose foreground is the program."""

    def __init__(self, *command: str) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # it is ignored if it was where the tests were started
            os.chdir(ROOT)
            os.environ |= {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
            os.execv(sys.executable, [sys.executable, *command])
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.shown = ""
        self.exit: int | None = None

    def read_until(self, wanted: str) -> None:
        """Until it shows something new; the time limit of the test is the other end."""
        fresh = ""
        while wanted not in fresh:
            if not (more := self._read()):
                raise AssertionError(f"it ended without {wanted!r}: {self.shown}")
            fresh += more

    def press(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def interrupt(self) -> None:
        """Send SIGINT, as another program may."""
        os.kill(self.pid, signal.SIGINT)

    def wait(self) -> int:
        """Its exit code, once it has ended by itself."""
        while self._read():
            pass
        self.exit = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.exit

    def end(self) -> None:
        if self.exit is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._fd)

    def _read(self) -> str:
        try:
            more = os.read(self._fd, 65_536).decode(errors="replace")
        except OSError:  # Linux says so where the program has ended
            more = ""
        self.shown += more
        return more


@contextmanager
def terminal(*command: str) -> Iterator[Terminal]:
    """A program at a terminal; it is killed at the end if it still runs."""
    made = Terminal(*command)
    try:
        yield made
    finally:
        made.end()
