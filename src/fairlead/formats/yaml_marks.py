"""YAML that `yaml_tree` has found to be good, as the tree of where everything stands.

Aliases are leaves here, with the value that they stand for: what an anchor names is changed at its own place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml import events as ev

from fairlead.formats.tree import Member, Node
from fairlead.formats.yaml_tree import plain_value

GAP: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_PROPERTIES: Final = re.compile(r"(?:[&!]\S*(?:[ \t\r\n]+|#[^\n]*)*)*")
_KEPT: Final = re.compile(r"[|>][-+0-9]*\+")


def marked(text: str) -> Node | None:
    """None where there is no document at all."""
    return _Marker(text).root()


class _Marker:
    def __init__(self, text: str) -> None:
        self._text = text
        self._events: Iterator[Any] = iter(YAML(typ="base", pure=True).parse(text))
        self._anchors: dict[str, Any] = {}

    def root(self) -> Node | None:
        for event in self._events:
            if isinstance(event, ev.NodeEvent):
                return self._node(event, event.start_mark.index)
        return None

    def _node(self, event: Any, after: int) -> Node:
        """`after` is where a value that is not written would stand."""
        start, end = event.start_mark.index, event.end_mark.index
        match event:
            case ev.AliasEvent():
                return Node(start, end, self._anchors[event.anchor], tangled=True, is_alias=True)
            case ev.MappingStartEvent():
                node = self._mapping(event, start)
            case ev.SequenceStartEvent():
                node = self._sequence(event, start)
            case _:
                node = self._scalar(event, start, end, after)
        if event.anchor:
            self._anchors[event.anchor] = node.value
        return node

    def _scalar(self, event: Any, start: int, end: int, after: int) -> Node:
        plain = event.tag is None and event.style in {None, ""}
        if start == end:
            start = end = after
        written = self._text[start:end]
        if event.style in {"|", ">"}:
            end = start + len(written.removesuffix("\n") if _KEPT.search(written) else written.rstrip())
        return Node(start, end, plain_value(event.value) if plain else event.value)

    def _gap(self, at: int) -> int:
        match = GAP.match(self._text, at)
        assert match is not None
        return match.end()

    def _sequence(self, opening: Any, start: int) -> Node:
        members: list[Member] = []
        at = _PROPERTIES.match(self._text, start).end()  # type: ignore[union-attr] # it matches nothing, too
        while not isinstance(event := next(self._events), ev.SequenceEndEvent):
            begin = after = event.start_mark.index
            if not opening.flow_style:
                begin = self._gap(at)
                after = begin + 1
            node = self._node(event, after)
            members.append(Member(begin, None, after, node))
            at = node.end
        value = [member.node.value for member in members]
        return self._closed(Node(start, at, value, members), opening, event)

    def _mapping(self, opening: Any, start: int) -> Node:
        members: list[Member] = []
        value: dict[str, Any] = {}
        merged: list[Any] = []
        regular = True
        while not isinstance(key := next(self._events), ev.MappingEndEvent):
            begin, end = key.start_mark.index, key.end_mark.index
            if key.anchor:
                self._anchors[key.anchor] = key.value
            colon = self._gap(end)
            after = colon + 1 if self._text.startswith(":", colon) else end
            node = self._node(next(self._events), after)
            regular = regular and after > end and not self._is_marked(begin)
            regular = regular and not (opening.flow_style and node.start == node.end)
            if key.value == "<<" and key.tag is None and key.style in {None, ""}:
                merged += node.value if isinstance(node.value, list) else [node.value]
                members.append(Member(begin, None, after, node))
            else:
                value[key.value] = node.value
                members.append(Member(begin, key.value, after, node))
        for each in merged:
            value = each | value
        end = members[-1].node.end if members else start
        if merged and opening.flow_style:
            regular = False
        node = Node(start, end, value, members)
        node.tangled = bool(merged)
        return self._closed(node, opening, key, regular=regular)

    def _is_marked(self, at: int) -> bool:
        """Whether a key has a question mark before it."""
        while at and self._text[at - 1] in " \t":
            at -= 1
        return self._text[at - 1 : at] == "?"

    def _closed(self, node: Node, opening: Any, closing: Any, *, regular: bool = True) -> Node:
        """`regular`: its members can be told apart by what stands between them."""
        node.block = not opening.flow_style
        node.tangled = node.tangled or any(member.node.tangled for member in node.members or ())
        if not node.block:
            node.end = closing.end_mark.index
            regular = regular and self._text[node.start] in "{["
        if not regular:
            node.members = None
        return node
