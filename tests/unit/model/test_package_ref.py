from __future__ import annotations

import re

import pytest

from fairlead.model.errors import SpecError
from fairlead.model.package_ref import PATTERN, PackageRef, parse_package


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("npm:@upstash/context7-mcp@4.1.1", PackageRef("npm", "@upstash/context7-mcp", "4.1.1")),
        ("npm:left.pad_2@1.0.0-rc.1+build", PackageRef("npm", "left.pad_2", "1.0.0-rc.1+build")),
        ("npm:JSONStream@1.3.5", PackageRef("npm", "JSONStream", "1.3.5")),
        ("pypi:mcp-server-git==2026.10.19", PackageRef("pypi", "mcp-server-git", "2026.10.19")),
        ("pypi:a==1!2.0rc1.post2.dev3+local.4", PackageRef("pypi", "a", "1!2.0rc1.post2.dev3+local.4")),
    ],
)
def test_a_pinned_package_is_read_and_written(text: str, reference: PackageRef) -> None:
    assert parse_package(text) == reference
    assert str(reference) == text
    assert re.search(PATTERN, text), "the schema must accept what the loader accepts"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("npm:x", "npm:x@1.2.3"),
        ("npm:@a/x", "npm:@a/x@1.2.3"),
        ("npm:x@latest", "npm:x@1.2.3"),
        ("npm:x@^1.0.0", "npm:x@1.2.3"),
        ("npm:x@1", "npm:x@1.2.3"),
        ("npm:x@1.x", "npm:x@1.2.3"),
        ("npm:x@1.0.0 || 2.0.0", "npm:x@1.2.3"),
        ("npm:x@1.0.0\n", "npm:x@1.2.3"),
        ("npm:x==1.0.0", "npm:x@1.2.3"),
        ("npm:--registry=evil@1.0.0", "npm:NAME@1.2.3"),
        ("npm:../x@1.0.0", "npm:NAME@1.2.3"),
        ("npm:@a/../b@1.0.0", "npm:NAME@1.2.3"),
        ("npm:https://example.com/x.tgz", "npm:https@1.2.3"),
        ("pypi:x", "pypi:x==1.2.3"),
        ("pypi:x@1.0", "pypi:x==1.2.3"),
        ("pypi:x>=1.0", "pypi:x==1.2.3"),
        ("pypi:x~=1.0", "pypi:x==1.2.3"),
        ("pypi:x==1.*", "pypi:x==1.2.3"),
        ("pypi:x==1.0,!=2", "pypi:x==1.2.3"),
        ("pypi:x[extra]==1.0", "pypi:x==1.2.3"),
        ("pypi:-r==1.0", "pypi:NAME==1.2.3"),
        ("x@1.0.0", "npm:NAME@VERSION"),
        ("docker:x@1.0.0", "npm:NAME@VERSION"),
        ("", "npm:NAME@VERSION"),
        ("npm:" + "x" * 400 + "@1.0.0", "npm:NAME@VERSION"),
    ],
)
def test_anything_that_is_not_one_version_of_one_package_is_refused(text: str, hint: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse_package(text)
    assert hint in refused.value.hint
    if len(text) < 300:
        assert not re.search(PATTERN + r"(?!\n)", text)
