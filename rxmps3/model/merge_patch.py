"""JSON merge patch (RFC 7386): merge, diff, compose. Pure; arguments are never changed.

Laws, for all JSON values ``t``, ``u`` and patches ``p``:

* ``merge(t, p)`` is the RFC's ``MergePatch(t, p)``;
* ``merge(merge(t, p), p) == merge(t, p)``: a repeated patch changes nothing;
* ``merge(t, diff(t, u)) == u`` wherever `diff` exists;
* for flat patches, ``merge(merge(t, p), q) == merge(t, compose(p, q))``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from rxmps3.errors import InvalidValue
from rxmps3.model import jsontext

__all__ = ["compose", "diff", "merge"]


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


def diff(before: Any, after: Any) -> Any:
    """The smallest merge patch that turns ``before`` into ``after``.

    Raises:
        InvalidValue: ``after`` holds a ``null`` as an object's member where ``before`` differs; a merge patch
            can delete such a member but not store it.
    """
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        return _storable(after)
    old, new = cast("Mapping[str, Any]", before), cast("Mapping[str, Any]", after)
    patch: dict[str, Any] = {name: None for name in old if name not in new}
    for name, value in new.items():
        if name in old and _same(old[name], value):
            continue
        if value is None:
            raise InvalidValue(
                "a merge patch cannot store null as an object's member",
                object=f"member {name!r}",
                remedy="replace the whole value instead",
            )
        patch[name] = diff(old.get(name), value)
    return patch


def compose(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """One flat patch with the effect of ``first`` and then ``second``.

    Flat means that members are opaque: replaced or deleted whole, never merged. Only for those does a composed
    patch always exist.
    """
    return {**first, **second}


def _storable(value: Any) -> Any:
    """``value`` as a patch that yields it whatever was there; refuses a null member, which would only delete."""
    if isinstance(value, Mapping):
        members = cast("Mapping[str, Any]", value)
        return diff({}, members) if members else {}
    return value


def _same(left: Any, right: Any) -> bool:
    """Equality of JSON values; unlike ``==`` it tells 1, 1.0 and true apart."""
    return jsontext.encode(left) == jsontext.encode(right)
