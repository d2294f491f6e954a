"""Operators for any Observable that reactivex does not have; use them in ``pipe`` beside those of reactivex.

Each docstring has marble diagrams in the notation of `rxmps3.testing.marbles`, which are run as tests. Timers use the
scheduler passed as an argument or at the subscription, else one for the running event loop; no threads are started.
"""

from rxmps3.operators.async_iterables import from_async_iterable, to_async_iterator
from rxmps3.operators.coalesce import coalesce
from rxmps3.operators.map_async import map_async
from rxmps3.operators.retry_with_backoff import retry_with_backoff
from rxmps3.operators.share_latest import share_latest

__all__ = [
    "coalesce",
    "from_async_iterable",
    "map_async",
    "retry_with_backoff",
    "share_latest",
    "to_async_iterator",
]
