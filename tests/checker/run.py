"""One run: clients, what happens to them, and the comparison in the end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.checker.logs import read_log
from tests.checker.nemeses import NEMESES, NOTICED_WITHIN
from tests.checker.proxy import Meddler, Mischief
from tests.checker.raw import Kept, Objects
from tests.checker.servers import Server
from tests.checker.trace import read_sessions
from tests.checker.verdicts import Expected, Report, judge
from tests.processes.programs import ROOT, Program

_PATIENCE = 150.0
"""Seconds within which a client does what it is told: a busy machine is no fault of anybody."""
_GOES_ON = 8.0
"""Seconds for which clients work that were started after the bucket had been replaced."""
_CLIENT = str(Path(__file__).parent / "client.py")


@dataclass(frozen=True)
class Plan:
    """What a run is.

    Attributes:
        protocol: of the log.
        nemeses: by name, see `NEMESES`.
        seconds: how long the clients work.
        seed: decides what is done, as far as the machine's own timing lets it.
        clients: how many there are, each a process.
        pause: the longest that a client waits between two steps, in seconds.
    """

    protocol: str
    nemeses: tuple[str, ...]
    seconds: float
    seed: int
    clients: int = 4
    pause: float = 0.1


@dataclass
class Outcome:
    """What a run gave: the comparison, and what was done to its clients.

    Attributes:
        url: of the database.
    """

    url: str
    report: Report
    done: Counter[str] = field(default_factory=Counter[str])
    notes: list[str] = field(default_factory=list[str])


class _Client:
    """One client through its lives."""

    def __init__(self, number: int, plan: Plan, url: str, options: dict[str, Any], folder: Path) -> None:
        self.number = number
        self.name = f"c{number}"
        self.life = -1
        self.folder = folder
        self.local = folder / f"local-{number}"
        self._plan = plan
        self.url = url
        self._options = options
        self.program: Program | None = None

    def start(self, *, idle: bool = False) -> None:
        """The next life."""
        self.life += 1
        plan = self._plan
        told = {
            "url": self.url,
            "options": {
                "poll": 0.3,
                "protocol": plan.protocol,
                "local": None if idle else str(self.local),
                **self._options,
            },
            "client": self.name,
            "life": self.life,
            "record": str(self.folder / f"{self.name}.{self.life}.jsonl"),
            "seed": plan.seed * 1000 + self.number * 100 + self.life,
            "pause": plan.pause,
            "conditions": plan.protocol == "sequenced",
            "compacts": self.number == 0 and "shift" in plan.nemeses,
            "idle": idle,
        }
        self.program = Program(_CLIENT, json.dumps(told))

    def kill(self) -> None:
        if self.program is not None:
            self.program.discard()

    def ask(self, order: str) -> str | None:
        """Wait until it has done what it was told to; what went wrong."""
        assert self.program is not None
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                if self.program.next() == order:
                    return None
            except TimeoutError as error:
                if time.monotonic() > until:
                    return f"{self.name}, {order}: {str(error)[-600:]}"
            except EOFError as error:
                return f"{self.name}, {order}: {str(error)[-600:]}"


def run(plan: Plan, server: Server, folder: Path) -> Outcome:
    """Do a run on a server that has been started.

    Args:
        plan: what to do.
        server: where.
        folder: an empty directory for what clients record and keep.
    """
    rng = random.Random(plan.seed)
    url = server.place(f"run-{plan.protocol}-{plan.seed}-{time.time_ns()}", plan.protocol)
    chosen = [NEMESES[name] for name in plan.nemeses]
    with ExitStack() as stack:
        meddlers: list[Meddler] = []
        clients: list[_Client] = []
        for number in range(plan.clients):
            endpoint = server.endpoint_url
            if endpoint is not None:
                meddler = stack.enter_context(Meddler(endpoint, plan.seed * 100 + number))
                for nemesis in chosen:
                    meddler.mischief = nemesis.meddle(meddler.mischief, number)
                meddlers.append(meddler)
                endpoint = meddler.endpoint_url
            clients.append(_Client(number, plan, url, server.options(endpoint), folder))
            stack.callback(clients[-1].kill)
        objects = server.objects(url)
        stack.callback(objects.close)
        is_replaced = bool({"wipe", "restore"} & set(plan.nemeses))
        stage = _Stage(plan, rng, clients, objects, server.options(server.endpoint_url))
        kept = Kept(objects)
        watching = threading.Event()
        watcher = threading.Thread(target=_keep, args=(kept, watching))
        if "shift" in plan.nemeses and plan.protocol == "sequenced" and not is_replaced:
            watcher.start()
            stack.callback(watcher.join)
            stack.callback(watching.set)
        for client in clients:
            client.start()
        for client in clients:
            client.ask("ready")
        stage.play()
        for meddler in meddlers:
            meddler.mischief = Mischief()
        outcome = Outcome(url, Report(), stage.done, stage.notes)
        _finish(clients, outcome)
        reader = _Client(plan.clients, plan, url, server.options(server.endpoint_url), folder)
        stack.callback(reader.kill)
        reader.start(idle=True)
        _finish([reader], outcome)
        for meddler in meddlers:
            outcome.done.update(meddler.done)
        watching.set()
        log = read_log(kept if not is_replaced else objects, plan.protocol)
        expected = Expected(linear=plan.protocol != "mps3", single=plan.protocol != "mps3", since=stage.settled_at)
        outcome.report = judge(log, read_sessions(folder), expected)
    return outcome


def _keep(kept: Kept, stop: threading.Event) -> None:
    while not stop.wait(0.2):
        with suppress(Exception):  # it looks again
            kept.look("main/")


def _finish(clients: list[_Client], outcome: Outcome) -> None:
    for order in ("flush", "finish"):
        for client in clients:
            if client.program is not None:
                with suppress(OSError):
                    client.program.say(order)
        for client in clients:
            problem = client.ask(order)
            if problem is not None:
                outcome.notes.append(problem)


class _Stage:
    """What is done to the clients while they work."""

    def __init__(
        self, plan: Plan, rng: random.Random, clients: list[_Client], objects: Objects, options: dict[str, Any]
    ) -> None:
        self._plan = plan
        self._rng = rng
        self._clients = clients
        self._objects = objects
        self._options = options
        self._frozen: dict[int, float] = {}
        self._copy: dict[str, bytes] = {}
        self._began = self._until = 0.0
        self._replaced_at: float | None = None
        self.notes: list[str] = []
        self._restarted = False
        self.done: Counter[str] = Counter()

    def play(self) -> None:
        """Until the time is over; in the end nobody stands still."""
        self._began = time.monotonic()
        due = {name: self._began + self._rng.uniform(1, NEMESES[name].every) for name in self._plan.nemeses}
        due = {name: at for name, at in due.items() if NEMESES[name].every}
        self._until = self._began + self._plan.seconds
        while (now := time.monotonic()) < self._until:
            for number, at in list(self._frozen.items()):
                if at <= now:
                    self._thaw(number)
            for name, at in due.items():
                if at <= now:
                    due[name] = now + self._rng.uniform(0.3, NEMESES[name].every)
                    getattr(self, f"_{name}")(now)
            time.sleep(0.05)
        for number in list(self._frozen):
            self._thaw(number)

    def _signal(self, client: _Client, what: signal.Signals) -> None:
        assert client.program is not None
        with suppress(ProcessLookupError):
            os.kill(client.program.pid, what)

    def _thaw(self, number: int) -> None:
        del self._frozen[number]
        self._signal(self._clients[number], signal.SIGCONT)

    def _freeze(self, now: float, first: int = 0) -> None:
        client = self._rng.choice(self._clients[first:])
        if client.number not in self._frozen:
            self._frozen[client.number] = now + self._rng.uniform(0.5, 6)
            self._signal(client, signal.SIGSTOP)
            self.done["frozen"] += 1

    def _shift(self, now: float) -> None:
        self._freeze(now, first=1)

    def _kill(self, now: float) -> None:
        client = self._rng.choice(self._clients)
        self._frozen.pop(client.number, None)
        client.kill()
        client.start()
        self.done["killed"] += 1

    def _wipe(self, now: float) -> None:
        if self._replaced_at is None and now > self._began + 8:
            self._objects.wipe()
            self._replaced("wiped")
        self._start_anew(now)

    def _restore(self, now: float) -> None:
        if not self._copy and now > self._began + 5:
            # As a backup tool would: the mutable object last of all, so that it names nothing that is not there.
            names = sorted((one.name for one in self._objects.names("")), key=lambda name: name.endswith("/head"))
            self._copy = {name: body for name in names if (body := self._objects.read(name)) is not None}
        elif self._copy and self._replaced_at is None and now > self._began + 12:
            self._objects.wipe()
            for name, body in self._copy.items():
                self._objects.write(name, body)
            self._replaced("restored")
        self._start_anew(now)

    def _replaced(self, what: str) -> None:
        self._replaced_at = time.monotonic()
        self.done[what] += 1

    @property
    def settled_at(self) -> float | None:
        """When everybody had to know that the bucket is another one; None if it is not."""
        return None if self._replaced_at is None else self._replaced_at + NOTICED_WITHIN

    def _start_anew(self, now: float) -> None:
        """What people do then: repair what can be repaired, and start half of the clients with nothing kept."""
        if self._restarted or self.settled_at is None or now < self.settled_at:
            return
        self._restarted = True
        self.notes.append(f"repair: {self._repair()}")
        for client in self._clients[::2]:
            self._frozen.pop(client.number, None)
            client.kill()
            client.local = client.local.with_name(client.local.name + "-anew")
            client.start()
        for client in self._clients[::2]:
            client.ask("ready")
        self._until = max(self._until, time.monotonic() + _GOES_ON)

    def _repair(self) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "rxmps3", "repair", self._clients[0].url, "--yes"],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "AWS_ENDPOINT_URL": self._options["endpoint_url"],
                "AWS_ACCESS_KEY_ID": self._options["aws_access_key_id"],
                "AWS_SECRET_ACCESS_KEY": self._options["aws_secret_access_key"],
                "AWS_DEFAULT_REGION": self._options["region_name"],
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        words = " ".join((done.stdout + done.stderr).split())
        return f"{words[:200]} (exit {done.returncode})"
