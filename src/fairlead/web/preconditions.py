"""Entity tags of the fleet spec and of deployments, and `If-Match` (RFC 9110, 8.8.3 and 13.1.1).

A tag names one state of the spec, its owner and the live edits, in one run of the service. `If-Match` holds
`*` or a list of tags, of which one must be the present one; weak tags are well-formed but never match, since
the comparison is the strong one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from fairlead.model.errors import Fault, Problem, ProblemError
from fairlead.web.problems import FieldError, validation_problem

_ELEMENT: Final = re.compile(r'[ \t]*(?:(?P<weak>W/)?"(?P<tag>[\x21\x23-\x7e\x80-\xff]*)"[ \t]*)?(?:,|\Z)')

IF_MATCH_MISSING: Final = Problem(
    code="if-match-missing",
    title="Say which spec is replaced",
    detail="Send If-Match with the ETag of GET /api/fleet, so that nobody's change is lost, or If-Match: * "
    "to replace the spec whatever it is by now.",
    status=428,
    fault=Fault.CLIENT,
)
IF_MATCH_MALFORMED: Final = validation_problem(
    [
        FieldError(
            where="header.if-match",
            what="it is not valid",
            how='write * or the ETag of GET /api/fleet with its quotes, such as "3f9c2a71-7"',
        )
    ]
)


TAG_MALFORMED: Final = validation_problem(
    [
        FieldError(
            where="header.if-match",
            what="it is not valid",
            how='write * or the ETag that came with what is changed, with its quotes, such as "7"',
        )
    ]
)


def entity_tag(tag: str) -> str:
    """The tag as a header has it."""
    return f'"{tag}"'


def changed_meanwhile(tag: str) -> Problem:
    """The spec is not the one that a change was made for; `tag` is what it has now."""
    return Problem(
        code="generation-changed",
        title="The fleet spec was changed meanwhile",
        detail=f"If-Match does not name the present spec, which is {entity_tag(tag)}. Read it with GET "
        "/api/fleet, make the change on that, and send it with the ETag that came with it.",
        status=412,
        fault=Fault.CLIENT,
        extra={"tag": tag},
    )


def expected_tag(if_match: Sequence[str], tag: str) -> str | None:
    """The tag of the spec that a change expects, `tag` being the present one; None: whatever it is.

    `if_match` has the header's lines. Raises ProblemError: 428 missing, 422 malformed, 412 no match.
    """
    if not if_match:
        raise ProblemError(IF_MATCH_MISSING)
    header = ",".join(if_match)
    if header.strip(" \t") == "*":
        return None
    if tag not in _strong_tags(header):
        raise ProblemError(changed_meanwhile(tag))
    return tag


def overtaken(tag: str) -> Problem:
    """What a decision is about is not as it was shown any more; `tag` is what it has now."""
    return Problem(
        code="changed-meanwhile",
        title="It was changed meanwhile",
        detail=f"It is at {entity_tag(tag)} by now, not as it was looked at. Look at it again, and decide "
        "about that.",
        status=412,
        fault=Fault.CLIENT,
        extra={"tag": tag},
    )


def require_match(if_match: Sequence[str], tag: str) -> None:
    """Where the header may be missing. Raises ProblemError: 422 malformed, 412 no match."""
    header = ",".join(if_match)
    if if_match and header.strip(" \t") != "*" and tag not in _strong_tags(header, TAG_MALFORMED):
        raise ProblemError(overtaken(tag))


def _strong_tags(header: str, malformed: Problem = IF_MATCH_MALFORMED) -> set[str]:
    """Those of a list of tags; empty elements count for nothing, but one tag must be there."""
    strong, found, position = set(), False, 0
    while position < len(header):
        element = _ELEMENT.match(header, position)
        if element is None:
            raise ProblemError(malformed)
        position = element.end()
        if element["tag"] is not None:
            found = True
            if element["weak"] is None:
                strong.add(element["tag"])
    if not found:
        raise ProblemError(malformed)
    return strong
