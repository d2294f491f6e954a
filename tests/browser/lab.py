"""A JupyterLab server of the test's own, on loopback and with nothing of the user's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.docs.blocks import ROOT

SETTINGS: dict[str, dict[str, Any]] = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
    "docmanager-extension/plugin": {"autosave": False},
}
"""No news from outside, and all cells of a notebook are in the page."""


@contextmanager
def jupyterlab(folder: Path, home: Path, *, python: str = sys.executable, **environment: str) -> Iterator[str]:
    """Serve a folder; the URL, without a slash at its end.

    Args:
        folder: what is in the file browser.
        home: for settings, sessions and logs.
        python: the interpreter of the environment that JupyterLab is installed in.
        **environment: what kernels find in theirs, beside the usual.
    """
    for name, settings in SETTINGS.items():
        written = home / "settings/@jupyterlab" / f"{name}.jupyterlab-settings"
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(json.dumps(settings))
    environment = (
        os.environ
        | {"PYTHONPATH": str(ROOT)}
        | environment
        | {
            "HOME": str(home),
            "IPYTHONDIR": str(home / "ipython"),
            "JUPYTER_CONFIG_DIR": str(home / "config"),
            "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        }
    )
    command = [
        *(python, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"),
        *(f"--ServerApp.root_dir={folder}", "--IdentityProvider.token=", "--PasswordIdentityProvider.hashed_password="),
        *("--LabApp.extension_manager=readonly", "--LabApp.news_url=None"),
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    log = home / "jupyterlab.log"
    with (
        log.open("w") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True) as server,
    ):
        try:
            yield _url_of(server, home / "runtime" / f"jpserver-{server.pid}.json", log)
        finally:
            _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    """Ask it to end; while a kernel starts it may not, and takes its kernels along then."""
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)


def _url_of(server: subprocess.Popen[bytes], facts: Path, log: Path) -> str:
    """Where the server answers, once it does; the time limit of the test is the other end."""
    while server.poll() is None:
        try:
            url = json.loads(facts.read_text())["url"].rstrip("/")
            with urllib.request.urlopen(f"{url}/api/status"):
                return url
        except (OSError, ValueError):
            time.sleep(0.1)
    raise AssertionError(f"JupyterLab ended:\n{log.read_text()}")
