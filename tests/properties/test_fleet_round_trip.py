"""The loader round-trips whatever can be a fleet, and says what is wrong with whatever cannot."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairlead.formats.yaml_text import write_yaml
from fairlead.formats.yaml_tree import Mapping, Node, Scalar, compose, plain_value
from fairlead.model.fleet import FleetSpec
from fairlead.model.placeholders import MissingNames, check, resolve
from fairlead.model.spec_problem import Loaded
from fairlead.model.units import CORES, DURATION, SIZE
from fairlead.stores.fleet_file import document, dump, load
from fairlead.stores.upgrade import upgrade
from support.fleet_strategies import DURATIONS, JSON, SPECS, TEMPLATES


@given(SPECS)
def test_a_fleet_that_is_written_is_read_as_it_was(spec: FleetSpec) -> None:
    text = dump(spec)
    found = load(text, "f.yml")
    assert not found.errors, "\n".join(map(str, found.errors)) + "\n" + text
    assert found.spec == spec
    assert load(text.encode(), "f.yml") == found
    assert not any("no unit" in problem.message for problem in found.warnings), "today's form has units"


@given(SPECS)
@settings(max_examples=30)
def test_what_a_server_says_of_its_checks_itself_stays_its_own(spec: FleetSpec) -> None:
    once = load(dump(spec), "f.yml").spec
    assert once is not None
    twice = load(dump(once), "f.yml").spec
    assert twice is not None
    for id_, server in twice.servers.items():
        said = {"interval", "retries", "recoveries"} & server.health_check.model_fields_set
        assert said == {"interval", "retries", "recoveries"} & once.servers[id_].health_check.model_fields_set
    full = load(write_yaml(document(spec, full=True)), "f.yml")
    assert full.spec == spec


def check_loaded(found: Loaded, text: str) -> None:
    assert (found.spec is None) == bool(found.errors)
    lines = text.split("\n")
    for problem in found.problems:
        assert problem.file == "f.yml"
        assert 1 <= problem.line <= len(lines) + 1 + text.count("\r")
        assert problem.column >= 1
        assert problem.message
        assert problem.hint
    if found.spec is not None:
        again = load(dump(found.spec), "g.yml")
        assert again.spec == found.spec


PIECES = st.sampled_from(
    [
        *"\t\n\r -:?[]{},&*!|>'\"%@`#~<=.$\\0aeé\u2028\ufeff\0\ud800",
        *("<<: ", "&a ", "*a", "!!str ", "${", "\\U0011", "---\n", "...\n", "\n  ", "a: ", "1", "30s"),
        *("servers:", "command: x", "url: ", "defaults:", "args: [", "]"),
    ]
)


@given(st.text() | st.lists(PIECES, max_size=40).map("".join))
@example("")
@example("servers: {a: {<<: 1, command: x}}")
@example('servers: {a: {command: "\\U00110000"}}')
@example("servers: {a: {command: x, scaling: {minInstances: " + "9" * 5000 + "}}}")
def test_no_text_whatever_makes_it_raise(text: str) -> None:
    check_loaded(load(text, "f.yml"), text)


@given(st.binary())
@example(b"\xff\xfes\0e\0")
def test_no_bytes_whatever_make_it_raise(content: bytes) -> None:
    check_loaded(load(content, "f.yml"), content.decode("utf-8", "replace"))


REAL = (Path(__file__).parents[1] / "unit" / "stores" / "data" / "original.yml").read_text(encoding="utf-8")


@given(st.integers(0, len(REAL)), st.integers(0, 60), st.lists(PIECES, max_size=3).map("".join))
@settings(deadline=None)
def test_no_slip_in_a_real_file_makes_it_raise(at: int, cut: int, put: str) -> None:
    text = REAL[:at] + put + REAL[at + cut :]
    found = load(text, "f.yml")
    check_loaded(found, text)
    if found.spec is not None:
        upgraded = load(upgrade(text), "f.yml")
        assert not any("no unit" in problem.message for problem in upgraded.problems)
        assert upgraded.spec == found.spec


@given(DURATIONS, st.integers(1, 2**50), st.floats(0.001, 10_000))
def test_quantities_are_written_exactly(duration: float, size: int, cores: float) -> None:
    assert DURATION.parse(DURATION.format(duration)) == duration
    assert SIZE.parse(SIZE.format(size)) == size
    assert CORES.parse(CORES.format(cores)) == cores


def data(node: Node | None) -> Any:
    if isinstance(node, Scalar):
        return plain_value(node.text) if node.plain else node.text
    if isinstance(node, Mapping):
        return {name: data(entry.value) for name, entry in node.entries.items()}
    assert node is not None
    return [data(item) for item in node.items]


@given(st.dictionaries(st.text(), JSON, min_size=1, max_size=4))
def test_plain_data_that_is_written_is_read_as_it_was(written: dict[str, Any]) -> None:
    tree = compose(write_yaml(written))
    assert not tree.findings
    assert data(tree.root) == written


@given(TEMPLATES, st.dictionaries(st.sampled_from("ABCD"), st.text()))
def test_placeholders_are_all_filled_in_or_all_told(text: str, known: dict[str, str]) -> None:
    found = resolve(check(text), known.get)
    missing = {
        name for name in "AB" if ("${" + name in text or "${env:" + name in text) and not known.get(name)
    }
    if isinstance(found, MissingNames):
        assert set(found.names) == missing
    else:
        assert not missing


@given(st.text())
def test_a_text_without_a_dollar_stays_itself(text: str) -> None:
    plain = text.replace("$", "").replace("\0", "")
    assert resolve(check(plain), {}.get) == plain
    assert resolve(check(plain.replace("x", "$$")), {}.get) == plain.replace("x", "$")


@given(st.text(alphabet="0123456789.eE+-x_infa", max_size=12))
def test_a_plain_number_is_what_python_has_for_it(text: str) -> None:
    value = plain_value(text)
    if isinstance(value, float):
        assert value == float(text)
        assert math.isfinite(value)
    elif type(value) is int and not text.startswith("0x"):
        assert value == int(text)
