"""Streams in notebooks: show the latest value of any Observable, tables of keys, bind widgets to keys.

It needs the extra: ``pip install 'rxmps3[jupyter]'``.
"""

from rxmps3.jupyter.binding import Binding, bind
from rxmps3.jupyter.charts import ChartView, chart
from rxmps3.jupyter.showing import LiveView, live
from rxmps3.jupyter.tables import TableView, table

__all__ = ["Binding", "ChartView", "LiveView", "TableView", "bind", "chart", "live", "table"]
