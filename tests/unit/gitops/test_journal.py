"""Which servers of a fleet a journal is about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fairlead.core.overrides import REMOVED, Edit
from fairlead.formats import documents
from fairlead.gitops import journal
from fairlead.gitops.journal import Entry
from fairlead.model.reconciling import Format, Live


def entry(order: int, *edits: tuple[tuple[str, ...], Any]) -> Entry:
    return Entry("fleet", order, tuple(Edit(key, value) for key, value in edits), ())


def test_all_servers_that_were_written_are_touched():
    written = [
        entry(1, (("servers", "new"), {"command": "x"}), (("servers", "old", "args"), ["1"])),
        entry(2, (("servers", "gone"), REMOVED), (("toolsets", "all"), {})),
    ]
    assert journal.touched(written) == {"new", "old", "gone"}
    assert journal.touched([*written, entry(3, (("loadBalancing", "strategy"), "random"))]) is None


def test_a_server_is_removed_if_the_last_of_its_edits_says_so():
    added, gone = (("servers", "a"), {"command": "x"}), (("servers", "a"), REMOVED)
    assert journal.removed([entry(1, added)]) == frozenset()
    assert journal.removed([entry(1, added), entry(2, gone)]) == {"a"}
    assert journal.removed([entry(1, gone), entry(2, added)]) == frozenset()
    assert journal.removed([entry(1, (("servers", "a", "args"), REMOVED))]) == frozenset()


def test_a_mode_that_was_written_is_taken_back_unless_others_have_changed_it():
    written = Entry("run.sh", 1, (), (), executable=False, became=True)
    live = Live("run.sh", "t", b"#!\n", {"": "#!\n"}, executable=True)
    assert journal.is_written(written, live)
    assert journal.entry(journal.intent("d", written)) == written
    back = journal.taken_back([written], live)
    assert back is not None
    assert (back.content, back.executable, back.tag) == (b"#!\n", False, "t")
    by_others = replace(live, executable=False)
    assert not journal.is_written(written, by_others)
    assert journal.taken_back([written], by_others) is None
    text = Entry("run.sh", 1, (Edit(("",), "#!\n"),), (Edit(("",), "old\n"),), became=False)
    back = journal.taken_back([text], live)
    assert back is not None
    assert (back.content, back.executable) == (b"old\n", True)


def test_taking_back_leaves_a_live_edit_what_it_is():
    written = Entry("fleet", 1, (Edit(("servers", "a"), "2"),), (Edit(("servers", "a"), "1"),))
    document = {"servers": {"a": "2", "b": "9"}}
    live = Live("fleet", "t", documents.write(Format.YAML, document), document, by={"servers.b": "ada"})
    write = journal.taken_back([written], live)
    assert write is not None
    assert (write.document, write.keeps) == ({"servers": {"a": "1", "b": "9"}}, ("servers.b",))
