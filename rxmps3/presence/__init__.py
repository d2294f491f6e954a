"""Who is here: one small object per client, outside the log.

`who` decides, `objects` reads and writes the bucket, `presence` is what programs hold.
"""

from rxmps3.presence.presence import Presence, Presences
from rxmps3.presence.who import Participant

__all__ = ["Participant", "Presence", "Presences"]
