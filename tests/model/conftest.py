"""The compiled models."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.model.spin import Search, missing


def _compiled(config: pytest.Config, model: str) -> Search:
    lacking = missing()
    if lacking:
        pytest.skip(f"the model is not checked: {lacking}")
    return Search(model, Path(config.cache.mkdir("spin")) if config.cache is not None else Path())


@pytest.fixture(scope="session")
def explorer(pytestconfig: pytest.Config) -> Search:
    """The model, of everything that can happen."""
    return _compiled(pytestconfig, "explore.pml")


@pytest.fixture(scope="session")
def replayer(pytestconfig: pytest.Config) -> Search:
    """The model, of what a recorded run says."""
    return _compiled(pytestconfig, "replay.pml")
