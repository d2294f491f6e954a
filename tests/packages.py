"""Checks what is to be published: ``python -m tests.packages DIRECTORY``, after ``python -m build -o DIRECTORY``.

The wheel must hold every file of the package, the sdist every file of the repository: its own tests are run from it.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["lacking"]

ROOT = Path(__file__).parents[1]


def lacking(tracked: Iterable[str], wheel: Iterable[str], sdist: Iterable[str]) -> list[str]:
    """What the wheel or the sdist lacks, in words; the names in the sdist start with that of its one folder."""
    in_wheel, in_sdist = set(wheel), {name.partition("/")[2] for name in sdist}
    tracked = sorted(tracked)
    return [
        *(f"the wheel lacks {name}" for name in tracked if name.startswith("rxmps3/") and name not in in_wheel),
        *(f"the wheel holds {name}" for name in sorted(in_wheel) if not name.startswith(("rxmps3/", "rxmps3-"))),
        *(f"the sdist lacks {name}" for name in tracked if name not in in_sdist),
    ]


def main(arguments: Sequence[str]) -> int:
    [directory] = arguments
    [wheel], [sdist] = Path(directory).glob("*.whl"), Path(directory).glob("*.tar.gz")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    tracked = listed.stdout.rstrip("\0").split("\0")
    with zipfile.ZipFile(wheel) as zipped, tarfile.open(sdist) as tar:
        missing = lacking(tracked, zipped.namelist(), tar.getnames())
    print("\n".join(missing) or f"{wheel.name} and {sdist.name} hold what they need")
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
