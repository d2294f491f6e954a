"""An immutable sorted map whose versions share structure. Pure.

A B+ tree whose nodes never change: an update copies the nodes from the root to one leaf, which costs O(log n) time and
memory, and every version stays valid. With 32 to 64 items per node, 100,000 keys are three levels.

Any two keys of a map have to be comparable by ``<``.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, takewhile
from typing import Any, Final, Generic, TypeVar

from rxmps3.model.missing import MISSING, MissingType

__all__ = ["SortedMap", "slide"]

V = TypeVar("V")
W = TypeVar("W")
D = TypeVar("D")

MOST: Final = 64
"""The most places of a node; it is split in two above that."""
FEWEST: Final = MOST // 4
"""A node with fewer is joined with a neighbour."""

_FEW: Final = 4
"""Up to this many changes are made one by one."""


class _Leaf(Generic[V]):
    __slots__ = ("keys", "size", "values")

    def __init__(self, keys: tuple[Any, ...], values: tuple[V, ...]) -> None:
        self.keys = keys
        self.values = values
        self.size = len(keys)


class _MappedLeaf(_Leaf[V]):
    """A leaf whose values are made of those of another when they are asked for first."""

    __slots__ = ("_function", "_source")

    def __init__(self, source: _Leaf[Any], function: Callable[[tuple[Any, ...]], Iterable[V]]) -> None:
        self.keys = source.keys
        self.size = source.size
        self._function = function
        self._source: tuple[Any, ...] | None = source.values

    def __getattr__(self, name: str) -> Any:  # called only while the slot is empty
        if name != "values":
            raise AttributeError(name)
        if (source := self._source) is not None:  # else another thread has just made them
            self.values = tuple(self._function(source))
            self._source = None
        return self.values


class _Branch(Generic[V]):
    """``keys`` holds the first key of each child."""

    __slots__ = ("children", "keys", "size")

    def __init__(self, keys: tuple[Any, ...], children: tuple[_Node[V], ...], size: int) -> None:
        self.keys = keys
        self.children = children
        self.size = size


_Node = _Leaf[V] | _Branch[V]


def _branch(children: tuple[_Node[V], ...]) -> _Branch[V]:
    return _Branch(tuple([child.keys[0] for child in children]), children, sum([child.size for child in children]))


class SortedMap(Generic[V]):
    """Values by key, in key order. Created by `of`; every update returns a new map."""

    __slots__ = ("_root",)

    def __init__(self, root: _Node[V] | None = None) -> None:
        self._root: _Node[V] = _Leaf((), ()) if root is None else root

    @staticmethod
    def of(keys: Sequence[Any], values: Sequence[W]) -> SortedMap[W]:
        """The map of distinct keys in ascending order, and their values. O(n)."""
        if not keys:
            return SortedMap()
        nodes: list[_Node[W]] = [
            _Leaf(tuple(keys[low:high]), tuple(values[low:high])) for low, high in _cuts(len(keys))
        ]
        while len(nodes) > 1:
            nodes = [_branch(tuple(nodes[low:high])) for low, high in _cuts(len(nodes))]
        return SortedMap(nodes[0])

    @staticmethod
    def joined(maps: Iterable[SortedMap[W]]) -> SortedMap[W]:
        """The items of several maps, the keys of each of which come after those of the one before. O(n): it shares most
        of the nodes that hold items."""
        nodes: list[_Node[W]] = []
        for one in maps:
            for leaf in _leaves(one._root):
                if leaf.size and nodes and min(leaf.size, nodes[-1].size) < FEWEST:
                    nodes.extend(_joined(nodes.pop(), leaf))
                elif leaf.size:
                    nodes.append(leaf)
        while len(nodes) > 1:
            nodes = [_branch(tuple(nodes[low:high])) for low, high in _cuts(len(nodes))]
        return SortedMap(nodes[0]) if nodes else SortedMap()

    def __len__(self) -> int:
        return self._root.size

    def __contains__(self, key: Any) -> bool:
        return self.get(key, MISSING) is not MISSING

    def __getitem__(self, key: Any) -> V:
        """O(log n). Raises `KeyError`."""
        found = self.get(key, MISSING)
        if isinstance(found, MissingType):
            raise KeyError(key)
        return found

    def get(self, key: Any, default: D = None) -> V | D:
        """A key's value, or the default. O(log n)."""
        node = self._root
        while isinstance(node, _Branch):
            place = bisect_right(node.keys, key) - 1
            if place < 0:
                return default
            node = node.children[place]
        place = bisect_left(node.keys, key)
        if place < node.size and not key < node.keys[place]:
            return node.values[place]
        return default

    def get_all(self, keys: Collection[Any]) -> dict[Any, V]:
        """The values of those of some keys that it has. O(keys · log n), less where many of them are in one node."""
        found: dict[Any, V] = {}
        if len(keys) > _FEW:
            order = sorted(keys)
            _find(self._root, order, 0, len(order), found)
            return found
        for key in keys:
            value = self.get(key, MISSING)
            if not isinstance(value, MissingType):
                found[key] = value
        return found

    def set(self, key: Any, value: V) -> SortedMap[V]:
        """The map with one key set. O(log n)."""
        root = self._root
        if isinstance(root, _Leaf):  # a key of a small map, such as those of a stream of one key
            if root.size == 1 and root.keys[0] == key:
                return SortedMap(_Leaf(root.keys, (value,)))
            place = bisect_left(root.keys, key)
            if place < root.size and not key < root.keys[place]:
                return SortedMap(_Leaf(root.keys, (*root.values[:place], value, *root.values[place + 1 :])))
        parts = _set(self._root, key, value)
        return SortedMap(parts[0] if len(parts) == 1 else _branch(parts))

    def delete(self, key: Any) -> SortedMap[V]:
        """The map without a key, which may be missing. O(log n)."""
        root = _delete(self._root, key)
        if root is self._root:
            return self
        while isinstance(root, _Branch) and len(root.children) == 1:
            root = root.children[0]
        return SortedMap(root)

    def update(self, changes: Mapping[Any, V | MissingType]) -> SortedMap[V]:
        """The map with some keys set and, where the value is `MISSING`, deleted.

        O(changes · log n), less where many changes concern one node.
        """
        if len(changes) <= _FEW:
            result = self
            for key, value in changes.items():
                result = result.delete(key) if value is MISSING else result.set(key, value)
            return result
        keys = sorted(changes)
        nodes = _updated(self._root, keys, changes, 0, len(keys))
        while len(nodes) > 1:
            nodes = [_branch(tuple(nodes[low:high])) for low, high in _cuts(len(nodes))]
        root = nodes[0] if nodes else _Leaf[V]((), ())
        while isinstance(root, _Branch) and len(root.children) == 1:
            root = root.children[0]
        return SortedMap(root)

    def mapped(self, function: Callable[[tuple[V, ...]], Iterable[W]]) -> SortedMap[W]:
        """The same keys with other values, which the function makes some dozens at a time, when one of them is read: it
        returns as many as it gets. O(n / 48)."""
        return SortedMap(_mapped(self._root, function))

    def at(self, index: int) -> tuple[Any, V]:
        """The key at a position, and its value. O(log n). Raises `IndexError`."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        node = self._root
        while isinstance(node, _Branch):
            for child in node.children:
                if index < child.size:
                    node = child
                    break
                index -= child.size
        return node.keys[index], node.values[index]

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(leaf.keys for leaf in _leaves(self._root))

    def __reversed__(self) -> Iterator[Any]:
        return chain.from_iterable(reversed(leaf.keys) for leaf in _leaves_back(self._root))

    def items(self) -> Iterator[tuple[Any, V]]:
        """Each key with its value, in order."""
        return chain.from_iterable(zip(leaf.keys, leaf.values, strict=True) for leaf in _leaves(self._root))

    def parts(self) -> Iterator[tuple[tuple[Any, ...], tuple[V, ...]]]:
        """The keys and their values, some dozens at a time, in order."""
        return ((leaf.keys, leaf.values) for leaf in _leaves(self._root))

    def items_from(self, key: Any) -> Iterator[tuple[Any, V]]:
        """The items from a key on, in order. O(log n) to the first."""
        return _items_from(self._root, key)

    def items_down_from(self, key: Any) -> Iterator[tuple[Any, V]]:
        """The items from a key on, in descending order. O(log n) to the first."""
        return _items_down_from(self._root, key)

    def differing(self, other: SortedMap[V]) -> list[Any]:
        """The keys that only one of the maps has, or whose values differ, in order.

        O(changes · log n) if one map was made from the other by changes: what they share is skipped.
        """
        mine: list[_Node[V]] = [self._root]
        theirs: list[_Node[V]] = [other._root]
        while True:
            if _height(mine) == _height(theirs):
                shared = {*map(id, mine)} & {*map(id, theirs)}
                mine = [node for node in mine if id(node) not in shared]
                theirs = [node for node in theirs if id(node) not in shared]
            heights = _height(mine), _height(theirs)
            if max(heights) <= 1:
                break
            if heights[0] == max(heights):
                mine = [child for node in mine for child in _children(node)]
            if heights[1] == max(heights):
                theirs = [child for node in theirs for child in _children(node)]
        left, right = _items_of(mine), _items_of(theirs)
        return sorted(key for key in {**left, **right} if left.get(key, MISSING) != right.get(key, MISSING))

    def rank(self, key: Any) -> int:
        """How many keys are less than this one. O(log n)."""
        node, before = self._root, 0
        while isinstance(node, _Branch):
            place = max(bisect_right(node.keys, key) - 1, 0)
            before += sum([child.size for child in node.children[:place]])
            node = node.children[place]
        return before + bisect_left(node.keys, key)

    def between(self, start: Any, stop: Any) -> SortedMap[V]:
        """The map of the keys from ``start`` to before ``stop``, or to the end if that is None. O(log n): it shares
        the nodes between."""
        low, high = self.rank(start), len(self) if stop is None else self.rank(stop)
        if low >= high:
            return SortedMap()
        root = _part(self._root, low, high)
        while isinstance(root, _Branch) and len(root.children) == 1:
            root = root.children[0]
        return SortedMap(root)

    def slice(self, start: int, stop: int) -> SortedMap[V]:
        """The map of the positions from ``start`` to before ``stop``. O(log n + stop - start)."""
        stop = min(stop, len(self))
        if start <= 0 and stop == len(self):
            return self
        if start >= stop:
            return SortedMap()
        keys: list[Any] = []
        values: list[V] = []
        for key, value in self.items_from(self.at(start)[0]):
            if len(keys) == stop - start:
                break
            keys.append(key)
            values.append(value)
        return SortedMap.of(keys, values)


def _find(node: _Node[V], keys: Sequence[Any], low: int, high: int, found: dict[Any, V]) -> None:
    """Look ``keys[low:high]`` up."""
    own = node.keys
    if isinstance(node, _Leaf):
        place, size, values = 0, node.size, node.values
        for key in keys[low:high]:
            place = bisect_left(own, key, place)
            if place == size:
                return
            if not key < own[place]:
                found[key] = values[place]
        return
    while low < high:
        place = bisect_right(own, keys[low]) - 1
        end = bisect_left(keys, own[place + 1], low, high) if place + 1 < len(own) else high
        if place >= 0:
            _find(node.children[place], keys, low, end, found)
        low = end


def _cuts(length: int) -> Iterator[tuple[int, int]]:
    """Where to split that many items into nodes of about equal size, with room to grow."""
    parts = -(-length // (MOST * 3 // 4))
    return ((length * part // parts, length * (part + 1) // parts) for part in range(parts))


def _cuts_if_too_many(length: int) -> Iterable[tuple[int, int]]:
    return ((0, length),) if length <= MOST else _cuts(length)


def _set(node: _Node[V], key: Any, value: V) -> tuple[_Node[V], ...]:
    """The node with a key set; two nodes if it became too large."""
    if isinstance(node, _Leaf):
        keys, values = node.keys, node.values
        place = bisect_left(keys, key)
        if place < node.size and not key < keys[place]:
            return (_Leaf(keys, (*values[:place], value, *values[place + 1 :])),)
        keys = (*keys[:place], key, *keys[place:])
        values = (*values[:place], value, *values[place:])
        if len(keys) <= MOST:
            return (_Leaf(keys, values),)
        half = len(keys) // 2
        return (_Leaf(keys[:half], values[:half]), _Leaf(keys[half:], values[half:]))
    place = max(bisect_right(node.keys, key) - 1, 0)
    parts = _set(node.children[place], key, value)
    if len(parts) == 1:
        return (_with_child(node, place, parts[0]),)
    return _halved((*node.children[:place], *parts, *node.children[place + 1 :]))


def _with_child(node: _Branch[V], place: int, child: _Node[V]) -> _Branch[V]:
    """The branch with one child replaced."""
    keys, children = node.keys, node.children
    if child.keys[0] is not keys[place]:
        keys = (*keys[:place], child.keys[0], *keys[place + 1 :])
    size = node.size + child.size - children[place].size
    return _Branch(keys, (*children[:place], child, *children[place + 1 :]), size)


def _halved(children: tuple[_Node[V], ...]) -> tuple[_Node[V], ...]:
    """A branch with these children, or two if there are too many for one."""
    if len(children) <= MOST:
        return (_branch(children),)
    half = len(children) // 2
    return (_branch(children[:half]), _branch(children[half:]))


def _updated(
    node: _Node[V], keys: Sequence[Any], changes: Mapping[Any, V | MissingType], low: int, high: int
) -> list[_Node[V]]:
    """The node with the changes of ``keys[low:high]``, as any number of nodes of its height."""
    if low == high:
        return [node]
    if isinstance(node, _Leaf):
        if (replaced := _with_values(node, keys[low:high], changes)) is not None:
            return [replaced]
        merged: dict[Any, V | MissingType] = dict(zip(node.keys, node.values, strict=True))
        merged.update((key, changes[key]) for key in keys[low:high])
        left = merged if len(merged) == node.size else sorted(merged)
        items: list[tuple[Any, V]] = [(key, value) for key in left if not isinstance(value := merged[key], MissingType)]
        if not items:
            return []
        return [
            _leaf(items[first:last]) for first, last in ([(0, len(items))] if len(items) <= MOST else _cuts(len(items)))
        ]
    children: list[_Node[V]] = []
    for place, child in enumerate(node.children):
        end = bisect_left(keys, node.keys[place + 1], low, high) if place + 1 < len(node.keys) else high
        for part in _updated(child, keys, changes, low, end):
            if children and min(len(part.keys), len(children[-1].keys)) < FEWEST:
                children.extend(_joined(children.pop(), part))
            else:
                children.append(part)
        low = end
    if not children:
        return []
    return [_branch(tuple(children[first:last])) for first, last in _cuts_if_too_many(len(children))]


def _with_values(node: _Leaf[V], keys: Sequence[Any], changes: Mapping[Any, V | MissingType]) -> _Leaf[V] | None:
    """The leaf with other values of some keys, in order; None if it lacks a key or one is deleted."""
    own, values, place = node.keys, list(node.values), 0
    for key in keys:
        value = changes[key]
        place = bisect_left(own, key, place)
        if place == node.size or key < own[place] or isinstance(value, MissingType):
            return None
        values[place] = value
    return _Leaf(own, tuple(values))


def _leaf(items: list[tuple[Any, V]]) -> _Leaf[V]:
    return _Leaf(tuple([key for key, _ in items]), tuple([value for _, value in items]))


def _part(node: _Node[V], low: int, high: int) -> _Node[V]:
    """The places of a node from ``low`` to before ``high``, which are not none; nodes at the ends may be small."""
    if low <= 0 and high >= node.size:
        return node
    if isinstance(node, _Leaf):
        low = max(low, 0)
        return _Leaf(node.keys[low:high], node.values[low:high])
    parts: list[_Node[V]] = []
    for child in node.children:
        if low < child.size and high > 0:
            parts.append(_part(child, low, high))
        low, high = low - child.size, high - child.size
    return _branch(tuple(parts))


def _mapped(node: _Node[V], function: Callable[[tuple[V, ...]], Iterable[W]]) -> _Node[W]:
    if isinstance(node, _Leaf):
        return _MappedLeaf(node, function)
    return _Branch(node.keys, tuple([_mapped(child, function) for child in node.children]), node.size)


def _delete(node: _Node[V], key: Any) -> _Node[V]:
    """The node without a key, possibly underfull; the same node if the key is missing."""
    if isinstance(node, _Leaf):
        place = bisect_left(node.keys, key)
        if place == node.size or key < node.keys[place]:
            return node
        return _Leaf((*node.keys[:place], *node.keys[place + 1 :]), (*node.values[:place], *node.values[place + 1 :]))
    place = bisect_right(node.keys, key) - 1
    if place < 0:
        return node
    child = _delete(node.children[place], key)
    if child is node.children[place]:
        return node
    if len(child.keys) >= FEWEST:
        return _with_child(node, place, child)
    left = max(place - 1, 0)
    before, after = node.children[:left], node.children[left + 2 :]
    joined = _joined(node.children[left], child) if left < place else _joined(child, *node.children[1:2])
    return _branch((*before, *joined, *after))


def _joined(left: _Node[V], right: _Node[V]) -> tuple[_Node[V], ...]:
    """Two neighbours as one node, or as two of about equal size."""
    if isinstance(left, _Leaf) and isinstance(right, _Leaf):
        keys, values = left.keys + right.keys, left.values + right.values
        if len(keys) <= MOST:
            return (_Leaf(keys, values),)
        half = len(keys) // 2
        return (_Leaf(keys[:half], values[:half]), _Leaf(keys[half:], values[half:]))
    return _halved((*_children(left), *_children(right)))


def _items_of(nodes: Iterable[_Node[V]]) -> dict[Any, V]:
    return {key: value for node in nodes for key, value in SortedMap[V](node).items()}


def _height(nodes: Sequence[_Node[V]]) -> int:
    """The height of nodes that are alike in it: 1 for leaves, 0 if there are none."""
    height = 0
    node = nodes[0] if nodes else None
    while node is not None:
        height += 1
        node = node.children[0] if isinstance(node, _Branch) else None
    return height


def _children(node: _Node[V]) -> tuple[_Node[V], ...]:
    return node.children if isinstance(node, _Branch) else (node,)


def _leaves(node: _Node[V]) -> Iterator[_Leaf[V]]:
    if isinstance(node, _Leaf):
        yield node
        return
    for child in node.children:
        if isinstance(child, _Leaf):
            yield child
        else:
            yield from _leaves(child)


def _leaves_back(node: _Node[V]) -> Iterator[_Leaf[V]]:
    if isinstance(node, _Leaf):
        yield node
        return
    for child in reversed(node.children):
        if isinstance(child, _Leaf):
            yield child
        else:
            yield from _leaves_back(child)


def _items_from(node: _Node[V], key: Any) -> Iterator[tuple[Any, V]]:
    if isinstance(node, _Leaf):
        place = bisect_left(node.keys, key)
        yield from zip(node.keys[place:], node.values[place:], strict=True)
        return
    place = max(bisect_right(node.keys, key) - 1, 0)
    yield from _items_from(node.children[place], key)
    for child in node.children[place + 1 :]:
        for leaf in _leaves(child):
            yield from zip(leaf.keys, leaf.values, strict=True)


def _items_down_from(node: _Node[V], key: Any) -> Iterator[tuple[Any, V]]:
    place = bisect_right(node.keys, key)
    if isinstance(node, _Leaf):
        yield from zip(reversed(node.keys[:place]), reversed(node.values[:place]), strict=True)
    elif place:
        yield from _items_down_from(node.children[place - 1], key)
        for child in reversed(node.children[: place - 1]):
            for leaf in _leaves_back(child):
                yield from zip(reversed(leaf.keys), reversed(leaf.values), strict=True)


def slide(
    window: SortedMap[V], order: SortedMap[V], gone: Iterable[Any], come: Iterable[Any], start: int, stop: int
) -> tuple[SortedMap[V], list[Any], list[Any]]:
    """Update a window of a sorted map: the positions from ``start`` to before ``stop``.

    O(changes · log n), or O(window) if no key of the window has stayed unchanged.

    Args:
        window: the previous content of those positions.
        order: the current map.
        gone: the previous keys that were set or deleted since, each once.
        come: the keys that were set since, each once.

    Returns:
        The window, the keys that left it, and those that entered it; a key that was set may be in both.
    """
    left = [key for key in gone if key in window]
    for key in left:
        window = window.delete(key)
    stop = min(stop, len(order))
    if start >= stop:
        left.extend(window)
        return SortedMap(), left, []
    first, last = order.at(start)[0], order.at(stop - 1)[0]
    while len(window) and (key := window.at(0)[0]) < first:
        left.append(key)
        window = window.delete(key)
    while len(window) and last < (key := window.at(len(window) - 1)[0]):
        left.append(key)
        window = window.delete(key)
    if not len(window):
        window = order.slice(start, stop)
        return window, left, list(window)
    low, high = window.at(0)[0], window.at(len(window) - 1)[0]
    entered = [
        *takewhile(lambda item: item[0] < low, order.items_from(first)),
        *takewhile(lambda item: high < item[0], order.items_down_from(last)),
        *((key, order[key]) for key in come if low < key < high),
    ]
    for key, value in entered:
        window = window.set(key, value)
    return window, left, [key for key, _ in entered]
