"""The blocking face has what the async one has, and whoever forgets it is told by name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rxmps3 import blocking
from tests import generate_blocking

ROOT = Path(__file__).parents[2]
DATABASE = "rxmps3/database/database.py"
ANCHOR = "    async def refresh(self) -> None:\n"


def test_the_blocking_face_is_up_to_date() -> None:
    assert generate_blocking.check() == []


def test_what_can_be_delegated_is_not_written_by_hand() -> None:
    for generated, by_hand in (
        (blocking.database.DatabaseDelegation, blocking.Database),
        (blocking.past.PastDelegation, blocking.BlockingPast),
        (blocking.transaction.TransactionDelegation, blocking.Transaction),
    ):
        assert {name for name in vars(generated) if not name.startswith("_")} & vars(by_hand).keys() <= {
            "past",
            "inner",
        }


class Copy:
    """A copy of the package to change and to generate in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(ROOT / "rxmps3", root / "rxmps3", ignore=shutil.ignore_patterns("__pycache__"))
        (root / "tests").mkdir()
        (root / "tests/__init__.py").touch()
        shutil.copy(ROOT / "tests/generate_blocking.py", root / "tests")
        shutil.copy(ROOT / "pyproject.toml", root)

    def change(self, file: str, old: str, new: str) -> None:
        path = self.root / file
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} is in {file} {text.count(old)} times"
        path.write_text(text.replace(old, new))

    def run(self, *arguments: str) -> list[str]:
        """What it says, a line each."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.generate_blocking", *arguments],
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stderr.splitlines()
        assert not done.stdout
        assert done.returncode == bool(said), done.stderr
        return said


@pytest.fixture
def copied(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def test_a_method_that_is_added_changed_or_removed_is_told_by_name_and_generated(copied: Copy) -> None:
    assert copied.run("--check") == []
    copied.change(
        DATABASE,
        ANCHOR,
        "    async def shout(self, keys: Iterable[str], *, often: int = 1) -> list[str]:\n"
        '        """Shout.\n\n'
        "        Raises:\n"
        "            InvalidKey: too loud.\n"
        '        """\n'
        "        return [key.upper() for key in keys] * often\n\n"
        "    @property\n"
        "    def loudness(self) -> Live[Status]:\n"
        '        """How loud."""\n'
        "        return self.status\n\n" + ANCHOR,
    )
    copied.change(DATABASE, "async def untag(self, name: str) -> None:", "async def forget(self, name: str) -> None:")
    copied.change(DATABASE, "async def tag(self, name: str) -> str:", 'async def tag(self, name: str = "now") -> str:')
    copied.change("rxmps3/database/past/past.py", "The `Entry` of each key", "The `Entry` of every key")
    said = copied.run("--check")
    command = "run python -m tests.generate_blocking"
    database, past = "rxmps3/blocking/generated/database.py", "rxmps3/blocking/generated/past.py"
    assert said == [
        f"Database.forget: missing in {database}: {command}",
        f"Database.loudness: missing in {database}: {command}",
        f"Database.shout: missing in {database}: {command}",
        f"Database.untag: left over in {database}: {command}",
        f"Database.tag: old in {database}: {command}",
        f"Past.entries: old in {past}: {command}",
    ]
    assert copied.run() == copied.run("--check") == []
    program = (
        "from rxmps3.blocking import connect\n"
        "with connect('memory:') as db:\n"
        "    print(db.shout((key for key in 'ab'), often=2, timeout=5), db.loudness.value.loaded, db.shout.__doc__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=copied.root, capture_output=True, text=True, check=True
    ).stdout
    assert done.startswith("['A', 'B', 'A', 'B'] True Shout.\n")
    told = [line.strip() for line in done.splitlines()]  # from Python 3.13 on, docstrings have no indentation
    assert told[-3:] == ["InvalidKey: too loud.", "TimeoutError: it was not done within ``timeout`` seconds.", ""]


def test_what_cannot_be_generated_is_told_by_name(copied: Copy) -> None:
    copied.change(
        DATABASE,
        ANCHOR,
        "    async def each(self, fn: Callable[[Any], Awaitable[None]]) -> None:\n"
        '        """Call it."""\n\n'
        "    def following(self) -> Iteration[Any]:\n"
        '        """Follow."""\n'
        "        return self.iterate(self.status)\n\n"
        "    async def twin(self) -> Database:\n"
        '        """Another."""\n'
        "        return self\n\n"
        "    async def hum(self) -> None:\n"
        '        """To be awaited."""\n\n'
        "    async def mumble(self) -> None: ...\n\n" + ANCHOR,
    )
    copied.change(DATABASE, "    def put_all(self, values: Mapping[str, Any], *, manifests: Iterable[str] | None = None) ->",
                  "    def put_all(self, values: Mapping[str, Any], *, manifests: Iterable[str] | None = None, ttl: int = 0) ->")  # fmt: skip
    copied.change(
        "rxmps3/streams/key.py",
        "    async def update(self, fn: Callable[[T],",
        '    async def settled(self) -> None:\n        """Wait."""\n\n    async def update(self, fn: Callable[[T],',
    )
    copied.change(
        "rxmps3/database/transaction.py", '        self.version = ""\n', '        self.version = self.mood = ""\n'
    )
    said = [
        "Key.settled: it is awaited: override it in rxmps3.blocking.key.BlockingKey",
        "Database.put_all: takes (values, manifests=…, ttl=…), and by hand (values, manifests=…) without await",
        "Database.each: its argument fn takes Awaitable, which is awaited: write it by hand in rxmps3.blocking.database",
        "Database.following: it gives Iteration, which is awaited: write it by hand in rxmps3.blocking.database",
        "Database.twin: it gives Database, which is awaited: write it by hand in rxmps3.blocking.database",
        "Database.hum: its docstring says 'awaited': add to WITHOUT_AWAIT what it is to say: write it by hand in "
        "rxmps3.blocking.database",
        "Database.mumble: it has no docstring: write it by hand in rxmps3.blocking.database",
        "Transaction.mood: it is an attribute: write it by hand in rxmps3.blocking.transaction",
    ]
    assert copied.run("--check") == said
    assert copied.run() == said
