"""One manifest as this process follows and extends it."""

from rxmps3.replica.replica import Replica
from rxmps3.replica.sharing import SharedValues

__all__ = ["Replica", "SharedValues"]
