import pytest

from fairlead.model.errors import ProblemError
from fairlead.model.package_ref import parse_package
from fairlead.packages.closure import PypiPackage
from fairlead.packages.commands import Finished
from fairlead.packages.pypi import closure_of, requirements_of, uv_problem

REFERENCE = parse_package("pypi:server==1.0.0")
ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
COMPILED = f"""\
# a comment
dep==1.2 ; python_full_version >= '3.12' and sys_platform == 'linux' \\
    --hash={TWO} \\
    --hash={ONE}
server==1.0.0 \\
    --hash={ONE}
"""


def test_what_uv_prints_becomes_a_closure_and_back():
    closure = closure_of(REFERENCE, COMPILED)
    assert closure == {
        "dep==1.2": PypiPackage(
            hashes=(ONE, TWO), marker="python_full_version >= '3.12' and sys_platform == 'linux'"
        ),
        "server==1.0.0": PypiPackage(hashes=(ONE,)),
    }
    again = requirements_of(closure)
    assert again.count("\n") == 2
    assert closure_of(REFERENCE, again) == closure


@pytest.mark.parametrize(
    "line",
    [
        "dep==1.2",
        f"dep @ https://user:hidden@host/dep.whl --hash={ONE}",
        "--index-url https://user:hidden@host/simple",
        f"dep>=1 --hash={ONE}",
        f"-e ./dep --hash={ONE}",
        "dep==1.2 --hash=md5:00",
    ],
)
def test_a_line_that_cannot_be_pinned_is_refused(line):
    with pytest.raises(ProblemError) as caught:
        closure_of(REFERENCE, COMPILED + line)
    assert caught.value.problem.code == "package-unsupported"
    assert "hidden" not in caught.value.problem.detail


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("Because x was not found in the package registry and", "package-not-found"),
        ("Because there is no version of x==1", "version-not-found"),
        ("Because there are no versions of x", "version-not-found"),
        ("Because x==1 has no usable wheels", "package-unsupported"),
        ("Because x==1 has no wheels with a matching Python ABI tag", "package-unsupported"),
        ("Package `x` was included as a URL dependency.", "package-unsupported"),
        ("Failed to download `x==1`\n  cause: Hash mismatch for `x==1`", "integrity-mismatch"),
        ("Failed to download `x==1`\n  cause: Failed to extract archive", "integrity-mismatch"),
        ("Request failed after 3 retries in 7.0s", "registry-unreachable"),
        ("was not found in the package registry\nhint: (401 Unauthorized)", "registry-unreachable"),
        ("was not found in the package registry\nhint: (403 Forbidden)", "registry-unreachable"),
        ("No solution found\nhint: unavailable because the network was disabled.", "registry-unreachable"),
        ("Failed to download `x==1`\n  cause: No space left on device (os error 28)", "install-failed"),
        ("the requested Python version (>=3.11) does not satisfy Python>=3.12", "install-failed"),
    ],
)
def test_what_uvs_answers_mean(said, code):
    found = uv_problem(REFERENCE, Finished(1, "", said)).problem
    assert found.code == code
    assert said.splitlines()[0] in found.detail
    assert (found.retry_after is not None) == (code == "registry-unreachable")


def test_silence_is_told_by_its_code():
    assert "uv exited with -9" in uv_problem(REFERENCE, Finished(-9, "", "")).problem.detail
