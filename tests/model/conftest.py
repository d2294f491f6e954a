"""The compiled models."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.model.spin import Search, missing


def _compiled(config: pytest.Config, model: str, *, merged: bool = True) -> Search:
    lacking = missing()
    if lacking:
        pytest.skip(f"the model is not checked: {lacking}")
    return Search(model, Path(config.cache.mkdir("spin")) if config.cache is not None else Path(), merged=merged)


@pytest.fixture(scope="session")
def explorer(pytestconfig: pytest.Config) -> Search:
    """The model, of everything that can happen."""
    return _compiled(pytestconfig, "explore.pml")


@pytest.fixture(scope="session")
def each_statement(pytestconfig: pytest.Config) -> Search:
    """As `explorer`, each statement by itself: slower, but it tells which were never reached."""
    return _compiled(pytestconfig, "explore.pml", merged=False)


@pytest.fixture(scope="session")
def replayer(pytestconfig: pytest.Config) -> Search:
    """The model, of what a recorded run says."""
    return _compiled(pytestconfig, "replay.pml")
