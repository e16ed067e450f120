import pytest

from fairlead.model.errors import Fault
from fairlead.packages.problems import condensed, package_problem, unreachable


@pytest.mark.parametrize(
    "secret",
    [
        "GET https://user:{}@registry.example/x",
        "GET https://{}@registry.example/x",
        "git+https://x:{}@host/repo.git",
        "//registry.example/:_authToken={}",
        "_password = {}",
        "Failed to fetch https://host/simple/?token={}&x=1",
        "https://host/simple/?api_key={}",
        "npm_{}",
        "pypi-{}",
    ],
)
def test_no_secret_is_shown(secret):
    value = "AgEIcHlwaS5vcmcCJDAwMDAwMDAw"
    shown = condensed(secret.format(value))
    assert value not in shown
    assert "***" in shown


def test_the_rest_of_an_address_stays():
    assert (
        condensed("GET https://u:p@host.example/a%2fb failed") == "GET https://***@host.example/a%2fb failed"
    )
    assert condensed("git@github.com and a@b.example") == "git@github.com and a@b.example"


def test_blank_repeated_and_stack_lines_are_left_out():
    said = "npm error E\n\nnpm error E\n    at Foo.bar (x.js:1:2)\n  next\n"
    assert condensed(said) == "npm error E\nnext"


def test_long_output_is_cut():
    assert len(condensed("x" * 100_000)) < 1300


def test_only_what_may_come_back_is_tried_again():
    assert package_problem("no-entry", "t", "d").problem.retry_after is None
    assert package_problem("no-entry", "t", "d").problem.status == 502
    gone = unreachable("d").problem
    assert (gone.code, gone.status, gone.fault) == ("registry-unreachable", 503, Fault.UPSTREAM)
    assert gone.retry_after
