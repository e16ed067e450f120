import pytest

from fairlead.packages.closure import NpmPackage, PypiPackage, check_keys, digest

SHA512 = "sha512-" + "A" * 86 + "=="
SHA256 = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    "integrity", ["", "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "md5-AAAA", "sha512-", "nonsense"]
)
def test_an_npm_package_without_a_good_hash_is_refused(integrity):
    with pytest.raises(ValueError, match="no integrity"):
        NpmPackage(version="1.0.0", integrity=integrity)


def test_what_lies_in_another_archive_needs_no_hash_of_its_own():
    assert NpmPackage(version="1.0.0", in_bundle=True).integrity == ""


@pytest.mark.parametrize("hashes", [(), ("md5:00",), (SHA256, "sha256:zz"), (SHA256 + "\n--index-url=x",)])
def test_a_requirement_without_good_hashes_is_refused(hashes):
    with pytest.raises(ValueError, match="no hashes"):
        PypiPackage(hashes=hashes)


@pytest.mark.parametrize("marker", ["os_name == 'nt'\n--index-url=x", "a # b", "a; b"])
def test_a_marker_cannot_bring_in_anything_else(marker):
    with pytest.raises(ValueError, match="environment marker"):
        PypiPackage(hashes=(SHA256,), marker=marker)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc",
        "node_modules",
        "node_modules/../x",
        "node_modules/a/../../x",
        "node_modules/a/b",
        "a",
        "node_modules/a\n",
    ],
)
def test_npm_paths_stay_in_node_modules(path):
    with pytest.raises(ValueError, match="is not a path"):
        check_keys("npm", {path: NpmPackage(version="1.0.0", integrity=SHA512)})


@pytest.mark.parametrize(
    "path", ["node_modules/a", "node_modules/@s/a.b/node_modules/@t/c-d", "node_modules/JSONStream"]
)
def test_npm_paths_that_npm_writes_are_taken(path):
    check_keys("npm", {path: NpmPackage(version="1.0.0", integrity=SHA512)})


@pytest.mark.parametrize("requirement", ["", "a", "a>=1", "a==1\n-r x", "-r==1", "a @ file:x", "a == 1"])
def test_requirements_are_a_name_and_a_version(requirement):
    with pytest.raises(ValueError, match="is not a requirement"):
        check_keys("pypi", {requirement: PypiPackage(hashes=(SHA256,))})


def test_the_digest_follows_content_and_platform_but_not_order():
    one = {"node_modules/a": NpmPackage(version="1.0.0", integrity=SHA512)}
    two = {"node_modules/b": NpmPackage(version="1.0.0", integrity=SHA512)}
    assert digest(one | two, "linux") == digest(two | one, "linux")
    assert (
        len({digest(one, "linux"), digest(two, "linux"), digest(one | two, "linux"), digest(one, "darwin")})
        == 4
    )
