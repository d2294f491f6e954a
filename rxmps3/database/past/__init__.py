"""Looking back: the state at an earlier version, a key's versions, and what changed between two of them."""

from rxmps3.database.past.history import Difference, History, KeyVersion, When
from rxmps3.database.past.past import Past
from rxmps3.database.past.reading import Recorded

__all__ = ["Difference", "History", "KeyVersion", "Past", "Recorded", "When"]
