from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.core.versions import check_package, check_range, misfit, version_in, wanted
from fairlead.model.errors import SpecError
from fairlead.model.gitops import Tools


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ("v24.1.0\n", "24.1.0"),
        ("Python 3.11.2", "3.11.2"),
        ("2.1.4 (Claude Code)", "2.1.4"),
        ("SuperClaude 4.3.0\n", "4.3.0"),
        ("tool v1.2.3-beta.4 on linux", "1.2.3-beta.4"),
        ("node_v8 2.0", "2.0"),
        ("7", None),
        ("no version here.", None),
        ("", None),
    ],
)
def test_a_version_is_found_in_what_a_tool_prints(printed: str, version: str | None) -> None:
    assert version_in(printed) == version


@pytest.mark.parametrize(
    ("said", "installed", "why"),
    [
        (">=22", "24.1.0", ""),
        (">=22", "20.19.0", "20.19.0 is installed, >=22 is wanted"),
        ("~=4.3", "4.9", ""),
        ("~=4.3", "5.0", "5.0 is installed, ~=4.3 is wanted"),
        ("==2026.8.31", "2026.8.31", ""),
        (">=3.11,<4", "4.0", "4.0 is installed, >=3.11,<4 is wanted"),
        (">=1.0", "1.2.3-beta.1", ""),
        (">=1.0", "2.0.0-canary.5", "its version '2.0.0-canary.5' cannot be compared"),
        (">=1.0", None, "it is not installed"),
    ],
)
def test_a_version_is_compared_with_the_range(said: str, installed: str | None, why: str) -> None:
    assert misfit(said, installed) == why


@pytest.mark.parametrize("said", ["", "22", "v22.1", ">= ", "latest", "^1.2", "1.x", ">=1" * 100])
def test_what_is_no_range_is_refused_with_a_remedy(said: str) -> None:
    with pytest.raises(SpecError, match="no range of versions") as refused:
        check_range(said)
    assert ">=22" in refused.value.hint


@pytest.mark.parametrize("name", ["npm:@scope/name", "npm:name", "pypi:SuperClaude", "pypi:a.b-c_d"])
def test_packages_are_named_with_their_registry(name: str) -> None:
    assert ":".join(check_package(name)) == name


@pytest.mark.parametrize(
    "name", ["name", "gem:x", "npm:", "npm:../x", "npm:a b", "pypi:-x", "npm:" + "a" * 300]
)
def test_what_is_no_package_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="is no package"):
        check_package(name)


def test_only_what_is_declared_is_wanted() -> None:
    assert list(wanted(Tools())) == []
    tools = Tools(node=">=22", superclaude="~=4.3", packages={"npm:x": "==1.0"})
    assert list(wanted(tools)) == [("node", ">=22"), ("superclaude", "~=4.3"), ("npm:x", "==1.0")]


@given(st.text(max_size=300), st.text(max_size=300) | st.none())
def test_nothing_that_anybody_writes_raises_anything_else(said: str, installed: str | None) -> None:
    with suppress(SpecError):
        assert isinstance(misfit(said, installed), str)
    version_in(installed or "")
