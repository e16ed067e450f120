"""The texts and numbers of a fleet spec that have a shape of their own: ids, packages, URLs, origins, counts.

Each check raises `SpecError`; none shows a value that may hold a secret.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, Strict

from fairlead.model import placeholders
from fairlead.model.errors import SpecError
from fairlead.model.package_ref import PATTERN as PACKAGE_PATTERN
from fairlead.model.package_ref import parse_package

_ID = "[a-z0-9][a-z0-9-]{0,31}"
ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://(?:(?![A-Z/?#@,*])[!-~])+")
"""An origin as browsers send it."""


def check_id(text: str, what: str = "a server's id") -> str:
    """The id itself. Raises `SpecError`."""
    if re.fullmatch(_ID, text):
        return text
    slug = re.sub("[^a-z0-9]+", "-", text[:80].lower()).strip("-")[:32]
    rule = "it has 1 to 32 of a-z, 0-9 and -, and does not start with -"
    raise SpecError(f"{text[:80]!r} cannot be {what}", f"{rule}: write {slug}" if slug else rule)


def _check_server_id(text: str) -> str:
    return check_id(text)


def _check_toolset_name(text: str) -> str:
    return check_id(text, "a toolset's name")


def _check_package(text: str) -> str:
    parse_package(text)
    return text


def _check_url(text: str) -> str:
    placeholders.check(text)
    if placeholders.has_placeholder(text.partition("/")[0]):
        return text  # not even the scheme is known yet
    wanted = "write it like https://host:port/mcp"
    if re.search(r"[\0-\x20\x7f]", text):
        raise SpecError("a URL has no white space in it", wanted)
    probe = placeholders.resolve(text, lambda _: "1")  # 1 may stand in a host, a port and a path
    try:
        parts = urlsplit(probe if isinstance(probe, str) else text)
        usable = parts.scheme in {"http", "https", "ws", "wss"} and parts.hostname and parts.port != 0
    except ValueError as error:
        raise SpecError(f"not a URL: {error}", wanted) from None
    if not usable:
        raise SpecError("not an http or https URL with a host", wanted)
    if "@" in parts.netloc:
        raise SpecError("a URL is shown to people, so it holds no user or password", "use `headers` for them")
    return text


def _check_origin(text: str) -> str:
    """With a `*` in it, it is taken and matches nothing, of which the loader warns."""
    if text == "*" or ORIGIN.fullmatch(text.replace("*", "x")):
        return text
    raise SpecError(
        f"{text[:80]!r} is not an origin",
        "write scheme://host or scheme://host:port, without a path or a final /",
    )


def _check_network(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise SpecError(
            f"{text[:80]!r} is no address or network", "write it like 10.0.0.7 or 10.0.0.0/8"
        ) from None
    return text


def _check_header(text: str) -> str:
    if "\r" in text or "\n" in text:
        raise SpecError("a header's value has one line", "remove the line breaks")
    return placeholders.check(text)


def _check_sandbox_path(text: str) -> str:
    placeholders.check_shown(text)
    if text.startswith(("/", "~/", "${")) or text == "~":
        return text
    raise SpecError(f"{text[:80]!r} is not an absolute path", "start it with /, ~/ or a ${NAME}")


def compile_pattern(text: str) -> re.Pattern[str]:
    """A pattern as it is checked, and as it is used. Raises `SpecError`."""
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise SpecError(f"not a regular expression: {error}", "write it as Python's `re` has it") from None


def _check_pattern(text: str) -> str:
    compile_pattern(text)
    if not text:
        raise SpecError("an empty pattern matches everything", "remove it")
    return text


ServerId = Annotated[str, AfterValidator(_check_server_id), Field(json_schema_extra={"pattern": f"^{_ID}$"})]
ToolsetName = Annotated[
    str, AfterValidator(_check_toolset_name), Field(json_schema_extra={"pattern": f"^{_ID}$"})
]
Package = Annotated[
    str, AfterValidator(_check_package), Field(json_schema_extra={"pattern": PACKAGE_PATTERN})
]
Template = Annotated[str, AfterValidator(placeholders.check)]  # may hold ${NAME}
ShownTemplate = Annotated[str, AfterValidator(placeholders.check_shown)]  # the same, but no secrets
Url = Annotated[str, AfterValidator(_check_url)]
Pattern = Annotated[str, Field(max_length=1000), AfterValidator(_check_pattern)]
Origin = Annotated[str, AfterValidator(_check_origin)]
Network = Annotated[str, AfterValidator(_check_network)]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
HeaderValue = Annotated[str, AfterValidator(_check_header)]
SandboxPath = Annotated[str, AfterValidator(_check_sandbox_path)]
Word = Annotated[str, Field(pattern=r"^\S{1,64}$")]

# Strict, so that "yes" is no truth, "2" no number and true no 1.
Flag = Annotated[bool, Strict()]
Count = Annotated[int, Strict(), Field(ge=0, le=1_000_000_000)]
Port = Annotated[int, Strict(), Field(ge=1, le=65535)]
Percent = Annotated[float, Strict(), Field(gt=0, le=100)]
Weight = Annotated[float, Strict(), Field(ge=0, le=1_000_000)]
