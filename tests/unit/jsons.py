"""Hypothesis strategies for JSON."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

unicode_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, 1, 0.0, -0.0, 1.0, True, False, 2**53 + 1])
    | unicode_text
)


def values(leaves: st.SearchStrategy[Any] = scalars, keys: st.SearchStrategy[str] = unicode_text) -> Any:
    """JSON values, nested."""
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
    )


few_keys = st.sampled_from(["a", "b", "c"])
colliding = values(scalars, few_keys)
"""Values whose objects share member names, so that patches meet something."""
