"""Pictures of a notebook's widgets, saved in it beside their texts."""

from __future__ import annotations

import base64
import io
import os
import time
from pathlib import Path
from typing import Any

import nbformat
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.docs.notebooks import ROOT, code_cells

__all__ = ["PICTURES", "save_in_docs", "save_pictures"]

PICTURES = os.environ.get("RXMPS3_PICTURES")


def save_pictures(chrome: webdriver.Chrome, name: str, seconds: float = 8) -> None:
    """Save a picture of each widget in the current window, if pictures are asked for.

    Args:
        chrome: its current window shows the notebook, with the cells run that are saved as run.
        name: of the notebook.
        seconds: until the charts have something to show.
    """
    if not PICTURES:
        return
    time.sleep(seconds)
    path = ROOT / f"notebooks/{name}.ipynb"
    saved, taken = nbformat.read(path, 4), 0
    for cell, shown in zip(code_cells(saved), chrome.find_elements(By.CSS_SELECTOR, ".jp-CodeCell"), strict=False):
        areas = shown.find_elements(By.CSS_SELECTOR, ".jp-OutputArea-output")
        for output, area in zip(cell["outputs"], areas, strict=False):
            if area.find_elements(By.CSS_SELECTOR, ".jupyter-widgets, .rx-badge"):
                output["data"]["image/png"] = base64.b64encode(_picture(chrome, area)).decode()
                taken += 1
    assert taken >= 2
    nbformat.write(saved, path)


def save_in_docs(name: str, *paths: Path) -> None:
    """Save pictures, side by side, as one of the documentation, if pictures are asked for."""
    from PIL import Image

    if not PICTURES:
        return
    parts = [Image.open(path).convert("RGB") for path in paths]
    whole = Image.new("RGB", (sum(one.width + 8 for one in parts) - 8, max(one.height for one in parts)), "#98a2b3")
    left = 0
    for one in parts:
        whole.paste(one, (left, 0))
        left += one.width + 8
    whole.quantize(128).save(ROOT / PICTURES / name, "PNG", optimize=True)


def _picture(chrome: webdriver.Chrome, element: Any) -> bytes:
    """A screenshot in few colours, which is small."""
    from PIL import Image

    chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    time.sleep(0.3)
    drawn = Image.open(io.BytesIO(element.screenshot_as_png)).convert("RGB")
    small = io.BytesIO()
    drawn.quantize(96).save(small, "PNG", optimize=True)
    return small.getvalue()
