"""One manifest as this process follows and extends it."""

from rxmps3.replica.replica import Replica
from rxmps3.replica.shared_values import SharedValues

__all__ = ["Replica", "SharedValues"]
