"""Who is here: one small object per client, outside the log.

`who` decides, `objects` reads and writes the bucket, `presence` is what programs hold.
"""

from rxmps3.database.presence.presence import Presence, Presences
from rxmps3.database.presence.who import Participant

__all__ = ["Participant", "Presence", "Presences"]
