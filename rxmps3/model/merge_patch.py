"""JSON merge patch (RFC 7386), whole and flat. Pure; arguments are never changed.

Laws, for all JSON values ``t``, ``u`` and patches ``p``:

* ``merge(t, p)`` is the RFC's ``MergePatch(t, p)``;
* ``merge(merge(t, p), p) == merge(t, p)``: a repeated patch changes nothing;
* for flat patches, ``merge_flat(merge_flat(t, p), q) == merge_flat(t, compose(p, q))``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from immutables import Map

__all__ = ["compose", "merge", "merge_flat"]

T = TypeVar("T")


def merge(target: Any, patch: Any) -> Any:
    """Apply a merge patch to a JSON value and return the result, sharing what did not change.

    Source: RFC 7386, section 2. ``null`` in an object of the patch deletes; arrays are replaced whole.
    """
    if not isinstance(patch, Mapping):
        return patch
    result = dict(cast("Mapping[str, Any]", target)) if isinstance(target, Mapping) else dict[str, Any]()
    for name, part in cast("Mapping[str, Any]", patch).items():
        if part is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), part)
    return result


def merge_flat(target: Map[str, T], patch: Mapping[str, T | None]) -> Map[str, T]:
    """Apply a flat merge patch: members are replaced or (None) deleted as a whole. Unchanged parts are shared."""
    result = target.mutate()
    for name, member in patch.items():
        if member is not None:
            result[name] = member
        elif name in result:
            del result[name]
    return result.finish()


def compose(*patches: Mapping[str, T]) -> dict[str, T]:
    """One flat patch with the effect of all of them in order.

    Composition is closed for flat patches only: of nested ones, a later member may be an object where an earlier one
    was not.
    """
    return {name: member for patch in patches for name, member in patch.items()}
