"""JSON merge patch (RFC 7386), and the composition of flat ones. Pure; arguments are never changed.

Laws, for all JSON values ``t``, ``u`` and patches ``p``:

* ``merge(t, p)`` is the RFC's ``MergePatch(t, p)``;
* ``merge(merge(t, p), p) == merge(t, p)``: a repeated patch changes nothing;
* for flat patches of entries, ``t.patched(p).patched(q) == t.patched(compose(p, q))``; see `Entries`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

__all__ = ["compose", "merge"]

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


def compose(*patches: Mapping[str, T]) -> dict[str, T]:
    """One flat patch with the effect of all of them in order.

    Composition is closed for flat patches only: of nested ones, a later member may be an object where an earlier one
    was not.
    """
    return {name: member for patch in patches for name, member in patch.items()}
