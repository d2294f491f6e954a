"""What happens to a blocking database when its process ends, is forked, or is interrupted. Real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from rxmps3.blocking import connect
from tests.blocking.programs import ROOT, run
from tests.conftest import Place

ENDS: Sequence[tuple[str, int]] = [("", 0), ("sys.exit(3)", 3), ("raise ValueError('on purpose')", 1)]

WRITES = """
import json, sys
from rxmps3.blocking import connect
db = connect(sys.argv[1], **json.loads(sys.argv[2]))
for number in range(20):
    db.put(f"k/{number}", "V" * (5000 if number == 7 else 5))
"""


@pytest.mark.parametrize(("end", "code"), ENDS)
def test_a_script_that_just_ends_has_sent_everything(place: Place, end: str, code: int) -> None:
    """The server is called by its name, which has to be resolved even then."""
    import json

    options = {
        name: value.replace("127.0.0.1", "localhost") if isinstance(value, str) else value
        for name, value in place.options.items()
    }
    if place.kind in ("memory", "moto"):
        pytest.skip("another process cannot reach it, or it is slow and says no more than the other server")
    ended = run(WRITES + end, place.url, json.dumps(options))
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr.replace('Traceback (most recent call last):\n  File "<string>"', "")
    with connect(place.url, shared=False, **place.options) as db:
        assert len(db) == 20


def test_what_was_written_by_handles_that_nobody_holds_is_sent(tmp_path: Path) -> None:
    ended = run(
        "import sys\n"
        "from rxmps3.blocking import connect\n"
        "for number in range(40): connect(sys.argv[1], shared=number % 2 == 0).put(f'k/{number}', number)\n",
        f"file:{tmp_path}/bucket",
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    with connect(f"file:{tmp_path}/bucket") as db:
        assert len(db) == 40


def test_what_cannot_be_sent_at_the_end_is_said(tmp_path: Path) -> None:
    ended = run(
        "import rxmps3.blocking.database as blocking\n"
        "from rxmps3.blocking import connect\n"
        "from rxmps3.storage import MemoryStorage\n"
        "class Stuck(MemoryStorage):\n"
        "    async def put(self, *a, **k):\n"
        "        raise __import__('rxmps3').Unavailable('no way')\n"
        "blocking._CLOSE_WITHIN = 0.2\n"
        "connect(Stuck()).put('k', 1)\n"
    )
    assert ended.returncode == 0
    assert "1 writes were not committed" in ended.stderr


def test_threads_that_outlive_the_script_may_still_write(tmp_path: Path) -> None:
    ended = run(
        "import sys, threading\n"
        "from rxmps3.blocking import connect\n"
        "db = connect(sys.argv[1])\n"
        "ended = threading.Event()\n"
        "threading._register_atexit(ended.set)\n"
        "def work():\n"
        "    ended.wait()\n"
        "    db.put('waited', 1).wait(20)\n"
        "    db.put('not', db.get('waited') + 1)\n"
        "threading.Thread(target=work).start()\n",
        f"file:{tmp_path}/bucket",
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    with connect(f"file:{tmp_path}/bucket") as db:
        assert dict(db.items()) == {"not": 2, "waited": 1}


def test_threads_that_are_still_to_connect_may_write_too(tmp_path: Path) -> None:
    """One that has not begun when the script ends, and one that it starts itself."""
    ended = run(
        "import sys, threading\n"
        "from rxmps3.blocking import connect\n"
        "ended = threading.Event()\n"
        "threading._register_atexit(ended.set)\n"
        "def work(name, more=()):\n"
        "    ended.wait()\n"
        "    for other in more: threading.Timer(0.2, work, [other]).start()\n"
        "    connect(sys.argv[1]).put(name, 1)\n"
        "threading.Thread(target=work, args=['first', ['second']]).start()\n",
        f"file:{tmp_path}/bucket",
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    with connect(f"file:{tmp_path}/bucket") as db:
        assert list(db) == ["first", "second"]


def test_a_thread_that_waits_for_the_end_of_the_script_does_not_hold_it_up_for_ever(tmp_path: Path) -> None:
    ended = run(
        "import sys, threading\n"
        "import rxmps3.blocking.portal as portal\n"
        "from rxmps3.blocking import connect\n"
        "portal._PATIENCE = 0.2\n"
        "db = connect(sys.argv[1])\n"
        "db.put('k', 1)\n"
        "def work():\n"
        "    threading.main_thread().join()\n"
        "    try: db.put('late', 1)\n"
        "    except Exception as error: print(type(error).__name__)\n"
        "threading.Thread(target=work).start()\n",
        f"file:{tmp_path}/bucket",
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "Closed\n", "")
    with connect(f"file:{tmp_path}/bucket") as db:
        assert dict(db.items()) == {"k": 1}


def test_workers_of_an_executor_do_not_hold_up_the_end(tmp_path: Path) -> None:
    """One waits for work, one for a stream that goes on for ever, and one for a write that cannot be sent."""
    ended = run(
        "import rxmps3.blocking.database as blocking\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from rxmps3.blocking import connect\n"
        "from rxmps3.storage import MemoryStorage\n"
        "class Stuck(MemoryStorage):\n"
        "    async def put(self, *a, **k):\n"
        "        raise __import__('rxmps3').Unavailable('no way')\n"
        "blocking._CLOSE_WITHIN = 0.2\n"
        "pool, db, stuck = ThreadPoolExecutor(3), connect('memory:'), connect(Stuck())\n"
        "pool.submit(int).result()\n"
        "ended = [pool.submit(list, db.iterate(db.changes())), pool.submit(stuck.put('k', 1).wait)]\n"
        "import atexit\n"
        "atexit.register(lambda: print([type(one.exception()).__name__ for one in ended]))\n"
        "def late(word):\n"
        "    try: word()\n"
        "    except Exception as error: print(type(error).__name__)\n"
        "connect_again = lambda: connect('memory:')\n"
        "for word in (lambda: db.get('k'), lambda: db.put('k', 1), db.refresh, db.close, connect_again):\n"
        "    atexit.register(late, word)\n"
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["Closed"] * 4 + ["['NoneType', 'NotSent']"], ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_end_takes_the_time_of_one_database_however_many_are_stuck(tmp_path: Path) -> None:
    ended = run(
        "import time\n"
        "import rxmps3.blocking.database as blocking\n"
        "from rxmps3.blocking import connect\n"
        "from rxmps3.storage import MemoryStorage\n"
        "class Stuck(MemoryStorage):\n"
        "    async def put(self, *a, **k):\n"
        "        raise __import__('rxmps3').Unavailable('no way')\n"
        "blocking._CLOSE_WITHIN = 4.0\n"
        "for _ in range(20): connect(Stuck()).put('k', 1)\n"
    )
    assert ended.returncode == 0  # within the limit of `run`, 50 s, which one after the other would not
    assert ended.stderr.count("1 writes were not committed") == 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_refused_and_may_open_its_own(tmp_path: Path) -> None:
    ended = run(
        "import os, sys\n"
        "from rxmps3 import Closed\n"
        "from rxmps3.blocking import connect\n"
        "db = connect(sys.argv[1]); db.put('k', 1).wait()\n"
        "stream, gain = db.observe('k'), db.key('gain')\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    for call in (lambda: db.get('k'), lambda: db.put('k', 2), db.close, lambda: 'k' in db, lambda: db.keys(),\n"
        "                 lambda: db.observe('k'), lambda: stream.subscribe(print), lambda: gain.put(3).wait(5)):\n"
        "        try: call()\n"
        "        except Closed as error: print('refused', 'forked' in str(error), flush=True)\n"
        "    with connect(sys.argv[1]) as own:\n"
        "        print(own['k'], flush=True)\n"
        "        own.put('child', 3)\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\n"
        "db.refresh(); print(dict(db.items()), flush=True)\n",
        f"file:{tmp_path}/bucket",
    )
    assert ended.stdout.splitlines() == ["refused True"] * 8 + ["1", "{'child': 3, 'k': 1}"], ended.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_may_leave_the_block_of_its_parent(tmp_path: Path) -> None:
    ended = run(
        "import os, sys, warnings\n"
        "from rxmps3.blocking import connect\n"
        "warnings.simplefilter('ignore', DeprecationWarning)  # what Python 3.12 and later say of a fork beside threads\n"
        "with connect(sys.argv[1]) as db:\n"
        "    db.put('k', 1)\n"
        "    child = os.fork()\n"
        "    if child == 0: sys.exit(5)\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "    db.put('then', 2).wait(20)\n",
        f"file:{tmp_path}/bucket",
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "5\n", "")


def test_a_spawned_child_is_a_process_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(
        "import multiprocessing, sys\n"
        "from rxmps3.blocking import connect\n"
        "def work(url, number):\n"
        "    with connect(url) as db:\n"
        "        db.put(f'child/{number}', number)\n"
        "if __name__ == '__main__':\n"
        "    with connect(sys.argv[1]) as db:\n"
        "        db.put('parent', 0).wait()\n"
        "        context = multiprocessing.get_context('spawn')\n"
        "        children = [context.Process(target=work, args=(sys.argv[1], n)) for n in range(2)]\n"
        "        for child in children: child.start()\n"
        "        for child in children: child.join()\n"
        "        db.refresh(); print(sorted(db))\n"
    )
    ended = subprocess.run(
        [sys.executable, str(tmp_path / "work.py"), f"file:{tmp_path}/bucket"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ended.stdout == "['child/0', 'child/1', 'parent']\n", ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupted_wait_leaves_the_database_usable(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\n"
            "from rxmps3.blocking import connect\n"
            "db = connect(sys.argv[1])\n"
            "try:\n"
            "    print('waiting', flush=True)\n"
            "    for change in db.iterate(db.changes()): pass\n"
            "except KeyboardInterrupt:\n"
            "    db.put('k', 1).wait(); print(db['k'], flush=True)\n",
            f"file:{tmp_path}/bucket",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "1\n"
    assert process.wait(30) == 0
    process.stdout.close()


INTERRUPTED = """
import os, signal, sys, threading
from rxmps3 import NotSent, Unavailable
from rxmps3.blocking import connect
from rxmps3.storage import MemoryStorage

class Stuck(MemoryStorage):
    async def put(self, *a, **k):
        raise Unavailable("no way")

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

db = connect(Stuck())
db.put("k", 1)
threading.Timer(0.2, interrupt).start()
try:
    db.close(timeout=float(sys.argv[1]))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(
    ("patience", "then", "said"),
    [
        ("1", "", "were not committed within 1.0 s"),
        ("1", "try: db.close()\nexcept NotSent: print('told')", ""),
        (
            "9",
            "timer = threading.Timer(0.2, interrupt); timer.daemon = True; timer.start()",
            "interrupted with 1 writes",
        ),
    ],
    ids=["the end waits for it", "it is waited for once more", "the end is interrupted, too"],
)
def test_a_closing_whose_wait_is_interrupted_goes_on_and_tells_how_it_went(patience: str, then: str, said: str) -> None:
    ended = run(INTERRUPTED + then, patience)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["interrupted", "told"] if "told" in then else ["interrupted"]
    assert said in ended.stderr
    assert "writes" not in ended.stderr or said
    assert "Traceback" not in ended.stderr


WRITES_WHILE_INTERRUPTED = """
import os, signal, threading
from rxmps3.blocking import connect

db = connect("memory:")
gain, number, interrupted, armed, done = db.key("gain"), 0, 0, False, threading.Event()

def interrupt_often():
    while not done.wait(0.002):
        os.kill(os.getpid(), signal.SIGINT)

def interrupt(*_):
    global interrupted, armed
    if armed:
        interrupted, armed = interrupted + 1, False
        raise KeyboardInterrupt

def write():
    global number, armed
    armed = True
    while True:
        number += 1
        gain.put(number) if number % 2 else db.put("k", number)

signal.signal(signal.SIGINT, interrupt)
thread = threading.Thread(target=interrupt_often)
thread.start()
while interrupted < 100:
    try:
        write()
    except KeyboardInterrupt:
        pass
done.set()
thread.join()
db.close(20)
print(interrupted)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_write_that_is_interrupted_is_made_or_not_and_never_half() -> None:
    ended = run(WRITES_WHILE_INTERRUPTED)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "100\n", "")
