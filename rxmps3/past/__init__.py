"""Looking back: the state at an earlier version, a key's versions, and what changed between two of them."""

from rxmps3.past.past import Past
from rxmps3.past.reading import Recorded
from rxmps3.past.words import Difference, KeyVersion, PastWords, When

__all__ = ["Difference", "KeyVersion", "Past", "PastWords", "Recorded", "When"]
