"""A Qt program: its window is busy while much changes, and goes straight to the newest; its slider writes."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.blocking.programs import run

WINDOW = """
import json, sys, threading, time
from PySide6.QtCore import QTimer, Qt
from PySide6.QtWidgets import QApplication, QSlider
from rxmps3.blocking import UiQueue, connect

application = QApplication([])
slider = QSlider(Qt.Orientation.Horizontal)
slider.setRange(0, 1000)
slider.show()
shown = []

def show(value):
    shown.append((threading.current_thread() is threading.main_thread(), value))
    slider.setValue(value)

with connect(sys.argv[1], by="other", shared=False) as other:
    with connect(sys.argv[1], by="window", poll=0.05) as db:
        queue = UiQueue()
        number = db.key("n", default=0)
        queue.watch(number, show)
        slider.sliderMoved.connect(number.on_next)

        timer = QTimer()
        timer.timeout.connect(queue.drain)
        timer.start(20)

        def block():
            begun = len(shown)
            receipts = [other.put("n", number) for number in range(1, 1000)]
            receipts[-1].wait(30)
            while db.get("n") != 999:
                time.sleep(0.05)
            assert len(shown) == begun, "shown while the window was busy"
            QTimer.singleShot(200, move)

        def move():
            assert slider.value() == 999, slider.value()
            slider.setSliderDown(True)  # as a hand does
            slider.setSliderPosition(1000)
            QTimer.singleShot(200, application.quit)

        QTimer.singleShot(200, block)
        application.exec()
    other.refresh()
    seen = other.get("n")
print(json.dumps([all(main for main, _ in shown), len(shown), shown[0][1], seen]))
"""


@pytest.mark.skipif(find_spec("PySide6") is None, reason="needs the extra 'qt'")
def test_a_window_that_was_busy_goes_to_the_newest_and_writes(tmp_path: Path) -> None:
    ended = run(WINDOW, f"file:{tmp_path}/bucket", QT_QPA_PLATFORM="offscreen")
    assert ended.returncode == 0, ended.stderr
    on_main, count, first, seen = json.loads(ended.stdout)
    assert on_main, "drawn on the thread of the window"
    assert first == 0
    assert seen == 1000, "what the slider wrote"
    assert count <= 4
