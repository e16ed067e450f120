"""Files as people write them, made from data: in any style, with comments in all places that can have one."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from fairlead.core.overrides import REMOVED, Edit
from fairlead.formats.toml_text import inline as toml_inline
from fairlead.formats.toml_text import name as toml_name
from fairlead.formats.yaml_text import in_quotes, inline, quoted
from fairlead.model.reconciling import Format

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
NAMES = (
    st.sampled_from(["a", "b", "c", "args", "a b", "a.b", "é", "1", "true", "-", "#x", "<<", "k: v", '"'])
    | TEXTS
)
WORDS = st.sampled_from(
    ["npx", "-y", "x: y", "# no", "line\nline\n", "a\n\n  b", " ", "null", "1.0", "http://x/y"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
    | TEXTS
)
VALUES = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(NAMES, below, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=5)


def without_null(value: Any) -> Any:
    """TOML has none."""
    if isinstance(value, dict):
        return {name: without_null(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_null(item) for item in value]
    return "" if value is None else value


@st.composite
def edits_of(draw: st.DrawFn, document: dict[str, Any], format_: Format) -> list[Edit]:
    """Some of places that are there, some of new ones."""
    found: list[Edit] = []
    for _ in range(draw(st.integers(1, 4))):
        below: Any = document
        key: tuple[str, ...] = ()
        while not key or (isinstance(below, dict) and draw(st.booleans())):
            name = draw(st.sampled_from(list(below)) | NAMES if below else NAMES)
            key = (*key, name)
            below = below.get(name)
        found.append(Edit(key, draw(st.just(REMOVED) | _near(below) | VALUES)))
    if format_ is Format.TOML:
        return [Edit(each.key, without_null(each.value)) for each in found]
    return found


def _near(value: Any) -> st.SearchStrategy[Any]:
    """A value that is a little different."""
    if isinstance(value, list) and value:
        return st.sampled_from(
            [value[1:], value[:-1], [*value, "new"], [*value[:-1], "new"], [value[0], "new", *value[1:]]]
        )
    if isinstance(value, dict) and value:
        return st.sampled_from([dict(list(value.items())[1:]), value | {"new": {"x": [1]}}, {"new": 1}])
    return st.just([value])


class Writer:
    """Writes data in the ways of people; `draw` decides which."""

    def __init__(self, draw: st.DrawFn, newline: str) -> None:
        self._draw = draw
        self.newline = newline
        self._comments = 0

    def chance(self) -> bool:
        return self._draw(st.booleans())

    def choice(self, *values: str) -> str:
        return self._draw(st.sampled_from(values))

    def comment(self) -> str:
        self._comments += 1
        return f"about {self._comments} , : {{ [ ] }} \" ' -"


class JsonWriter(Writer):
    def gap(self, indent: str) -> str:
        """Between two tokens."""
        return self._draw(
            st.sampled_from(
                [
                    "",
                    " ",
                    self.newline + indent,
                    f" /* {self.comment()} */ ",
                    f" // {self.comment()}{self.newline}{indent}",
                ]
            )
        )

    def value(self, value: Any, indent: str) -> str:
        if isinstance(value, dict):
            items = [
                f"{self.text(name)}{self.gap(indent)}:{self.gap(indent)}{self.value(item, indent + '  ')}"
                for name, item in value.items()
            ]
            return "{" + self.members(items, indent) + "}"
        if isinstance(value, list):
            return "[" + self.members([self.value(item, indent + "  ") for item in value], indent) + "]"
        return self.text(value) if isinstance(value, str) else json.dumps(value)

    def text(self, text: str) -> str:
        return json.dumps(text, ensure_ascii=self.chance())

    def members(self, items: list[str], indent: str) -> str:
        text = self.gap(indent)
        for index, item in enumerate(items):
            comma = "," if index < len(items) - 1 or self.chance() else ""
            text += item + self.gap(indent) + comma + self.gap(indent)
        return text


class YamlWriter(Writer):
    def __init__(self, draw: st.DrawFn, newline: str) -> None:
        super().__init__(draw, newline)
        self.unit = self.choice("  ", "    ", " ")
        self.dash = self.choice("", "  ", self.unit)

    def tail(self) -> str:
        """The rest of a line, and lines between."""
        text = f"  # {self.comment()}" if self.chance() else self.choice("", "", " ")
        if self.chance():
            return text + self.newline
        return (
            text
            + self.newline
            + self.choice("", self.newline, f"# {self.comment()}{self.newline}", f"      # x{self.newline}")
        )

    def scalar(self, value: Any) -> str:
        if isinstance(value, str):
            choices = [in_quotes(value), quoted(value)]
            if value.isprintable():
                choices.append("'" + value.replace("'", "''") + "'")
            return self.choice(*choices)
        return self.choice("~", "null") if value is None else inline(value)

    def flow(self, value: Any) -> str:
        if isinstance(value, dict):
            pad = self.choice("", " ")
            return (
                "{"
                + pad
                + ", ".join(f"{in_quotes(name)}: {self.flow(item)}" for name, item in value.items())
                + pad
                + "}"
            )
        if isinstance(value, list):
            return (
                "[" + ", ".join(self.flow(item) for item in value) + self.choice("", ",") * bool(value) + "]"
            )
        return self.scalar(value)

    def after(self, value: Any, indent: str) -> str:
        """What follows a name's colon."""
        if value and isinstance(value, dict | list) and self.chance():
            gap = self.tail()
            if isinstance(value, dict):
                return gap + "".join(
                    self.entry(name, item, indent + self.unit) for name, item in value.items()
                )
            return gap + "".join(self.item(item, indent + self.dash) for item in value)
        if value is None and self.chance():
            return self.tail()
        if (
            isinstance(value, str)
            and value.strip()
            and value.isascii()
            and value.replace("\n", "").isprintable()
            and value[0] not in " \n"
            and self.chance()
        ):
            keep = "-" if not value.endswith("\n") else "+" if value.endswith("\n\n") else ""
            lines = value.removesuffix("\n").split("\n")
            return f" |{keep}{self.newline}" + "".join(f"{indent}  {line}{self.newline}" for line in lines)
        return self.choice(" ", "   ") + self.flow(value) + self.tail()

    def entry(self, name: str, value: Any, indent: str) -> str:
        return f"{indent}{self.scalar(name)}{self.choice('', ' ')}:{self.after(value, indent)}"

    def item(self, value: Any, indent: str) -> str:
        if value and isinstance(value, dict) and self.chance():
            lines = "".join(self.entry(name, item, indent + "  ") for name, item in value.items())
            return f"{indent}- {lines.lstrip(' ')}"
        if value and isinstance(value, list) and self.chance():
            lines = "".join(self.item(item, indent + "  ") for item in value)
            return f"{indent}- {lines.lstrip(' ')}"
        return f"{indent}-{self.choice(' ', '   ')}{self.flow(value)}{self.tail()}"


class TomlWriter(Writer):
    def tail(self) -> str:
        text = f" # {self.comment()}" if self.chance() else ""
        return text + self.newline + self.choice("", "", self.newline, f"# {self.comment()}{self.newline}")

    def name(self, name: str) -> str:
        return self.choice(toml_name(name), toml_inline(name))

    def gap(self) -> str:
        """Within an array."""
        return self.choice("", " ", self.newline + "  ", f" # {self.comment()}{self.newline}  ")

    def value(self, value: Any) -> str:
        if isinstance(value, list):
            items = [f"{self.gap()}{self.value(item)}{self.gap()}" for item in value]
            return "[" + ",".join(items) + self.choice("", ",") * bool(items) + self.gap() + "]"
        if isinstance(value, dict):
            pad = self.choice("", " ")
            pairs = [f"{self.name(name)}{pad}={pad}{self.value(item)}" for name, item in value.items()]
            return "{" + pad + ", ".join(pairs) + pad + "}"
        if isinstance(value, str) and value.isprintable() and "'" not in value and self.chance():
            return self.choice(f"'{value}'", f"'''{value}'''")
        return toml_inline(value)

    def pair(self, path: str, value: Any) -> str:
        if value and isinstance(value, dict) and self.chance():  # with dots
            return "".join(self.pair(f"{path}.{self.name(name)}", item) for name, item in value.items())
        return f"{path}{self.choice(' ', '')}={self.choice(' ', '')}{self.value(value)}{self.tail()}"

    def entry(self, path: str, value: Any) -> tuple[str, str]:
        """As part of the section around it, or as sections of its own."""
        if isinstance(value, dict) and self.chance():
            return "", self.section(path, value, f"[{path}]")
        if (
            value
            and isinstance(value, list)
            and all(isinstance(item, dict) for item in value)
            and self.chance()
        ):
            return "", "".join(self.section(path, item, f"[[{path}]]") for item in value)
        return self.pair(path.rsplit(SPLIT, 1)[-1], value), ""

    def section(self, path: str, table: dict[str, Any], header: str) -> str:
        parts = [self.entry(f"{path}{SPLIT}{self.name(name)}", item) for name, item in table.items()]
        own, below = "".join(part[0] for part in parts), "".join(part[1] for part in parts)
        if not own and below and header.startswith("[[") is False and self.chance():
            return below
        return f"{header}{self.tail()}{own}{below}"


SPLIT = "\0"  # stands for a dot between parts of a header


@st.composite
def toml_files(draw: st.DrawFn) -> tuple[dict[str, Any], str, dict[str, str]]:
    document = without_null(draw(DOCUMENTS))
    writer = TomlWriter(draw, draw(st.sampled_from(["\n", "\r\n"])))
    entries = {name: writer.entry(writer.name(name), item) for name, item in document.items()}
    ordered = sorted(entries.values(), key=lambda parts: bool(parts[1]))
    text = writer.choice("", f"# {writer.comment()}{writer.newline}{writer.newline}") + "".join(
        map("".join, ordered)
    )
    found = {name: _core("".join(parts).replace(SPLIT, ".")) for name, parts in entries.items() if any(parts)}
    return document, text.replace(SPLIT, "."), found


@st.composite
def json_files(draw: st.DrawFn) -> tuple[dict[str, Any], str, dict[str, str]]:
    document = draw(DOCUMENTS)
    writer = JsonWriter(draw, draw(st.sampled_from(["\n", "\r\n"])))
    entries = {name: f"{writer.text(name)}: {writer.value(item, '  ')}" for name, item in document.items()}
    text = writer.gap("") + "{" + writer.members(list(entries.values()), "  ") + "}" + writer.gap("")
    return document, text, entries


@st.composite
def yaml_files(draw: st.DrawFn) -> tuple[dict[str, Any], str, dict[str, str]]:
    document = draw(DOCUMENTS)
    writer = YamlWriter(draw, draw(st.sampled_from(["\n", "\r\n"])))
    entries = {name: writer.entry(name, item, "") for name, item in document.items()}
    text = writer.choice("", "---" + writer.newline, f"# {writer.comment()}{writer.newline}") + "".join(
        entries.values()
    )
    return document, text, {name: _core(entry) for name, entry in entries.items()}


def _core(entry: str) -> str:
    """Without the comments and blank lines below it."""
    lines = entry.rstrip().split("\n")
    while lines[-1].lstrip().startswith("#") or not lines[-1].strip():
        lines.pop()
    return "\n".join(lines)


FILES = {Format.JSON: json_files(), Format.YAML: yaml_files(), Format.TOML: toml_files()}
