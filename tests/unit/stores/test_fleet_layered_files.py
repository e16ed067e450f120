"""Layers of a fleet file: several files that become one spec, with places in the right file."""

from __future__ import annotations

from fairlead.core.layers import merge
from fairlead.formats import yaml_document
from fairlead.model.spec_problem import Loaded
from fairlead.stores.fleet_file import document, load, load_layers

BASE = """\
version: "1"
defaults: {resources: {memory: 256MiB}}
servers:
  a:
    command: x
    args: [one, two]
    environment: {KEEP: base, CHANGE: base}
"""


def layered(*texts: str) -> Loaded:
    return load_layers([(f"{number}/f.yml", text.encode()) for number, text in enumerate(texts)])


def test_one_layer_is_the_file_itself() -> None:
    assert layered(BASE).spec == load(BASE, "f").spec


def test_mappings_merge_lists_replace_and_null_keeps() -> None:
    loaded = layered(
        BASE,
        "servers: {a: {args: [three], environment: {CHANGE: above, NEW: '1'}}, b: {command: y}}",
        "servers: {a: {command: null, environment: {KEEP: null, GONE: null}}}",
    )
    assert loaded.spec is not None
    a = loaded.spec.servers["a"]
    assert (a.command, a.args) == ("x", ("three",))
    assert a.environment == {"KEEP": "base", "CHANGE": "above", "NEW": "1"}
    assert loaded.spec.servers["b"].resources.memory == 256 * 2**20
    assert "GONE" not in loaded.said["servers"]["a"]["environment"]


def test_it_is_the_merge_of_the_mission() -> None:
    texts = [BASE, "servers: {a: {args: null, environment: {X: null}}}", "servers: {b: {command: y}}"]
    documents = [yaml_document.read(text.encode()) for text in texts]
    assert layered(*texts).said == merge(documents)


def test_texts_that_look_like_numbers_stay_what_was_written() -> None:
    loaded = layered(BASE, "version: 1.0\nservers: {a: {environment: {CHANGE: 010}}}")
    assert loaded.spec is not None
    assert loaded.said["version"] == "1.0"
    assert loaded.spec.servers["a"].environment["CHANGE"] == "010"


def test_an_empty_layer_says_nothing() -> None:
    assert layered(BASE, "# nothing yet\n", "").spec == layered(BASE).spec


def test_layers_that_say_nothing_together_are_no_fleet() -> None:
    loaded = layered("", "# nothing\n")
    assert loaded.spec is None
    assert "is missing" in str(loaded.errors[0])


def test_problems_are_in_the_file_that_they_are_in() -> None:
    loaded = layered(
        BASE,
        "servers:\n  a:\n    comand: y\n",
        "servers:\n  a:\n    args: 5\n  b:\n    sharing: some\n",
    )
    assert [str(error).partition(";")[0] for error in loaded.errors] == [
        "1/f.yml:3:5: error: servers.a.comand: unknown key",
        "2/f.yml:3:11: error: servers.a.args: a list is wanted here, not a text",
        "2/f.yml:4:3: error: servers.b: does not say what it is",
        "2/f.yml:5:14: error: servers.b.sharing: 'some' is not known here",
    ]


def test_what_is_overlaid_is_checked_all_the_same() -> None:
    loaded = layered(BASE + "    bogus: 1\n", "servers: {a: {bogus: null}}")
    assert [error.file for error in loaded.errors] == ["0/f.yml", "1/f.yml"]


def test_every_layer_that_cannot_be_read_is_told() -> None:
    loaded = layered("servers: [", BASE, "x: 1\nx: 2\n")
    assert {error.file for error in loaded.errors} == {"0/f.yml", "2/f.yml"}
    assert loaded.spec is None


def test_what_a_layer_writes_can_be_read_back() -> None:
    spec = layered(BASE, "servers: {b: {url: 'http://127.0.0.1:1/'}}").spec
    assert spec is not None
    assert document(spec)["servers"]["b"]["url"] == "http://127.0.0.1:1/"
