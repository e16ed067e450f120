"""What a new spec changes."""

from fairlead.core.plan import Plan, plan

OLD = {"a": "v1 small", "b": "v1 small", "c": "v1 small", "d": "v1 small"}


def by_version(old: str, new: str) -> bool:
    return old.split(maxsplit=1)[0] == new.split(maxsplit=1)[0]


def test_each_server_is_in_the_part_that_costs_least():
    new = {"e": "v1 small", "d": "v1 small", "c": "v1 large", "b": "v2 small"}
    assert plan(OLD, new, same_process=by_version) == Plan(
        started=("e",), replaced=("b",), adjusted=("c",), stopped=("a",), kept=("d",)
    )


def test_names_come_in_the_order_of_the_specs():
    assert plan({}, {"z": 1, "a": 1}, same_process=by_version).started == ("z", "a")
    assert plan({"z": 1, "a": 1}, {}, same_process=by_version).stopped == ("z", "a")
    assert plan({"z": 1, "a": 1}, {"a": 1, "z": 1}, same_process=by_version).kept == ("a", "z")


def test_what_is_equal_is_not_even_asked_about():
    def never(old: object, new: object) -> bool:
        raise AssertionError(old, new)

    assert plan(OLD, dict(OLD), same_process=never) == Plan(kept=("a", "b", "c", "d"))
