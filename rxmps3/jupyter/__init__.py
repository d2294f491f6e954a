"""Notebook views of streams: live values, tables, charts, timelines, presence, forms, and widgets bound to keys.

Requires the extra: ``pip install 'rxmps3[jupyter]'``.
"""

from rxmps3.jupyter import displays
from rxmps3.jupyter.binding import Binding, Bindings, bind
from rxmps3.jupyter.charts import ChartView, chart
from rxmps3.jupyter.forms import ControlsView, controls
from rxmps3.jupyter.inspecting import InspectorView, inspector
from rxmps3.jupyter.people import PeopleView, presence
from rxmps3.jupyter.showing import LiveView, live
from rxmps3.jupyter.tables import TableView, table
from rxmps3.jupyter.timelines import TimelineView, timeline

__all__ = [
    "Binding",
    "Bindings",
    "ChartView",
    "ControlsView",
    "InspectorView",
    "LiveView",
    "PeopleView",
    "TableView",
    "TimelineView",
    "bind",
    "chart",
    "controls",
    "inspector",
    "live",
    "presence",
    "table",
    "timeline",
]

displays.register()
