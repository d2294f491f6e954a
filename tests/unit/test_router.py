"""From a step to the sinks that it concerns, against a model that asks everybody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from reactivex.abc import DisposableBase

from rxmps3.model.state import Changes, Entry, EntryChange, Inline, Step, View, Write, WriteId, Wrote, step
from rxmps3.replica.router import Router, Turn

KEYS = ["a", "a/1", "a/2", "ab", "b", "b/1", ""]


class Wish(NamedTuple):
    kind: Literal["keys", "prefix", "every"]
    names: tuple[str, ...] = ()

    def wants(self, key: str) -> bool:
        match self.kind:
            case "keys":
                return key in self.names
            case "prefix":
                return key.startswith(self.names[0])
            case "every":
                return True


wishes = (
    st.lists(st.sampled_from(KEYS), max_size=4).map(lambda names: Wish("keys", tuple(names)))
    | st.sampled_from([*KEYS, "a/", "zzz"]).map(lambda prefix: Wish("prefix", (prefix,)))
    | st.just(Wish("every"))
)


class Probe:
    """A sink that writes down what it receives on a list shared by all."""

    def __init__(self, name: int, calls: list[tuple[int, list[str]]]) -> None:
        self.name = name
        self.calls = calls

    def receive(self, turn: Turn, changes: Sequence[EntryChange]) -> None:
        self.calls.append((self.name, [change.key for change in changes]))


def subscribe(router: Router, wish: Wish, probe: Probe) -> DisposableBase:
    match wish.kind:
        case "keys":
            return router.add_keys(wish.names, probe)
        case "prefix":
            return router.add_prefix(wish.names[0], probe)
        case "every":
            return router.add_every(probe)


def turn_of(keys: list[str]) -> Turn:
    changes = tuple(EntryChange(key, None, None, True, False, "", "remote") for key in keys)
    return Turn(1, Step(View(), None, changes))


turns = st.lists(st.sampled_from(KEYS), unique=True, max_size=5)


@given(st.lists(wishes, max_size=8), turns, st.sets(st.integers(0, 7)))
def test_each_sink_gets_what_it_asked_for_once_in_the_order_of_subscription(
    asked: list[Wish], keys: list[str], gone: set[int]
) -> None:
    router, calls = Router(), list[tuple[int, list[str]]]()
    routes = [subscribe(router, wish, Probe(number, calls)) for number, wish in enumerate(asked)]
    for number in gone:
        if number < len(routes):
            routes[number].dispose()
            routes[number].dispose()
    router.deliver(turn_of(keys))
    expected: list[tuple[int, list[str]]] = []
    for number, wish in enumerate(asked):
        wanted = [key for key in keys if wish.wants(key)]
        if number not in gone and (wanted or wish.kind == "every"):
            expected.append((number, wanted))
    assert calls == expected


@given(st.lists(wishes, max_size=8), turns)
def test_nothing_stays_behind_when_all_have_gone(asked: list[Wish], keys: list[str]) -> None:
    router, calls = Router(), list[tuple[int, list[str]]]()
    for route in [subscribe(router, wish, Probe(0, calls)) for wish in asked]:
        route.dispose()
    router.deliver(turn_of(keys))
    assert calls == []
    remains = [getattr(router, name) for name in vars(router) if name != "_order"]
    assert not any(remains)


def test_a_sink_may_subscribe_and_dispose_during_a_delivery() -> None:
    router, calls = Router(), list[tuple[int, list[str]]]()

    class Changer(Probe):
        def receive(self, turn: Turn, changes: Sequence[EntryChange]) -> None:
            super().receive(turn, changes)
            own.dispose()
            router.add_every(Probe(9, calls))
            router.add_keys(["a"], Probe(8, calls))

    own = router.add_keys(["a"], Changer(1, calls))
    router.add_prefix("", Probe(2, calls))
    router.deliver(turn_of(["a"]))
    assert calls == [(1, ["a"]), (2, ["a"])]
    calls.clear()
    router.deliver(turn_of(["a"]))
    assert calls == [(2, ["a"]), (9, ["a"]), (8, ["a"])]


class Noting(Changes):
    """Changes that note what is asked of them."""

    def __init__(self, write: Write) -> None:
        view = View(loaded=True)
        self.asked = list[list[str]]()
        super().__init__(view, step(view, Wrote(write)).view, lambda: dict.fromkeys(write.update, "own"), "someone")

    def at(self, keys: Iterable[str]) -> Sequence[EntryChange]:
        self.asked.append(list(keys))
        return super().at(self.asked[-1])

    def __iter__(self) -> Iterator[EntryChange]:
        self.asked.append(list(self.keys))
        return super().__iter__()


def test_what_nobody_has_asked_for_is_not_computed() -> None:
    entry = Entry("w-1", Inline("1"))
    changes = Noting(Write(WriteId("w", 1), "n", {f"key/{number}": entry for number in range(100)}))
    turn, router, calls = Turn(1, Step(View(), None, changes)), Router(), list[tuple[int, list[str]]]()
    router.add_last(lambda turn: None)
    router.deliver(turn)
    assert changes.asked == []
    router.add_keys(["other", "key/8", "key/7"], Probe(1, calls))
    router.add_prefix("key/9", Probe(2, calls))
    router.deliver(turn)
    nines = ["key/9", *(f"key/{number}" for number in range(90, 100))]
    assert changes.asked == [["key/7", "key/8", *nines]]
    assert calls == [(1, ["key/7", "key/8"]), (2, nines)]
    router.add_prefix("", Probe(3, calls))
    router.deliver(turn)
    assert calls[-1] == (3, [change.key for change in changes]) == (3, [f"key/{number}" for number in range(100)])
