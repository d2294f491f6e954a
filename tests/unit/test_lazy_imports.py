"""Which modules a program imports before it uses them: what ``import rxmps3`` and ``rxmps3 get`` take in."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import rxmps3

LOADED = "import sys; print(*sorted(sys.modules))"
COMMAND = """
from rxmps3.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""


def modules(code: str, *arguments: str) -> set[str]:
    """What a new process has imported after it has run this."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{LOADED}", *arguments], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def foreign(names: set[str]) -> set[str]:
    """The packages among them that are neither the standard library's nor ours."""
    return {name.partition(".")[0] for name in names} & set(packages_distributions()) - {"rxmps3"}


def own(names: set[str]) -> set[str]:
    return {name for name in names if name.partition(".")[0] == "rxmps3"}


def test_the_package_alone_imports_its_errors_and_nothing_else() -> None:
    names = modules("import rxmps3")
    assert own(names) == {"rxmps3", "rxmps3.errors", "rxmps3.model", "rxmps3.model.missing"}
    assert foreign(names - modules("")) == set()
    assert "asyncio" not in names


def test_each_public_name_is_there_when_it_is_used() -> None:
    assert set(rxmps3.__all__) <= set(dir(rxmps3))
    for name in dir(rxmps3):
        assert getattr(rxmps3, name) is getattr(rxmps3, name)
    with pytest.raises(AttributeError, match="no attribute 'conect'"):
        _ = rxmps3.conect  # pyright: ignore


def test_getting_a_value_from_a_directory_imports_what_reads_a_sequenced_log(tmp_path: Path) -> None:
    url = f"file:{tmp_path}"
    put = "import asyncio, rxmps3, sys\nasync def f():\n async with rxmps3.connect(sys.argv[1]) as db: await db.put('k', 1)\nasyncio.run(f())"
    modules(put, url)
    names = modules(COMMAND, "get", url, "k", "--json")
    assert foreign(names - modules("")) == {
        "cachetools",
        "immutables",
        "reactivex",
        "sortedcontainers",
        "typing_extensions",
    }
    unused = (
        "blocking",
        "jupyter",
        "testing",
        "cli.commands",
        "cli.options",
        "log.mps3",
        "log.versioned",
        "storage.s3",
    )
    assert [name for name in own(names) if name.removeprefix("rxmps3.").startswith(unused)] == []
    assert {"html", "email", "logging.config", "unittest"}.isdisjoint(names - modules(""))


@pytest.mark.parametrize("arguments", [["get", "--help"], ["get", "URL"], ["get", "URL", "k", "--raw", "--json", "-x"]])
def test_any_other_command_line_is_read_by_what_reads_command_lines(arguments: list[str]) -> None:
    code = "import sys\nfrom rxmps3.cli.reading import plain_get\nassert not plain_get(sys.argv[1:])"
    assert "rxmps3.cli.commands" not in modules(code, *arguments)
