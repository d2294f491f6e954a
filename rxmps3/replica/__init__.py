"""One manifest as this process follows and extends it."""

from rxmps3.replica.replica import Replica

__all__ = ["Replica"]
