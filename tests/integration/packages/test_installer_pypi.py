"""uv itself, against a package index on loopback."""

import subprocess
import sys

import pytest

from fairlead.model.errors import ProblemError
from fairlead.packages.installer import Installer

CODE = "import os, sys\n\ndef main():\n    import dep\n    print(dep.word, sys.argv[1:])\n"


def publish(registry, name="server", scripts=("server",)):
    registry.pypi(
        name,
        files={f"{name}.py": CODE},
        scripts=dict.fromkeys(scripts, f"{name}:main"),
        requires=("dep>=1", "only-elsewhere; sys_platform == 'plan9'"),
    )
    registry.pypi("dep", "1.2", files={"dep.py": "word = 'hello'\n"})
    registry.pypi("only-elsewhere")


def output_of(argv):
    return subprocess.run(argv, env={}, capture_output=True, text=True, check=True, timeout=60).stdout


async def refused(installer, package, entry=None):
    with pytest.raises(ProblemError) as caught:
        await installer.ensure(package, entry)
    return caught.value.problem


async def test_a_package_gets_an_environment_of_its_own_and_runs(
    registry, installer, folder, lock_files, progress
):
    publish(registry)
    argv = await installer.ensure("pypi:server==1.0.0", None)
    (home,) = (folder / "pypi").iterdir()
    assert home.name.startswith("server@1.0.0-")
    assert argv == (f"{home}/env/bin/python", f"{home}/env/bin/server")
    assert output_of((*argv, "x")) == "hello ['x']\n"
    version = output_of((argv[0], "-c", "import sys; print(sys.version, sys.prefix)"))
    assert version == f"{sys.version} {home}/env\n"
    assert ("pypi:server==1.0.0", "installing 3 packages") in progress
    assert list((folder / "tmp").iterdir()) == []


async def test_all_platforms_are_pinned_by_hash_and_no_host_is_named(registry, installer, lock_files):
    publish(registry)
    await installer.ensure("pypi:server==1.0.0", None)
    ((_, closure),) = lock_files.read_local().items()
    assert set(closure) == {"server==1.0.0", "dep==1.2", "only-elsewhere==1.0.0"}
    assert closure["only-elsewhere==1.0.0"].marker == "sys_platform == 'plan9'"
    assert all(package.hashes for package in closure.values())
    assert registry.url not in lock_files.local.read_text()


async def test_the_next_start_finds_it_without_network_or_process(
    registry, installer, folder, lock_files, monkeypatch
):
    publish(registry)
    argv = await installer.ensure("pypi:server==1.0.0", None)
    asked = len(registry.requests)

    async def no_process(*args, **kwargs):
        raise AssertionError(args)

    monkeypatch.setattr("asyncio.create_subprocess_exec", no_process)
    assert await Installer(folder, lock_files, environ={}).ensure("pypi:server==1.0.0", None) == argv
    assert len(registry.requests) == asked


async def test_each_package_has_its_own_versions(registry, installer):
    registry.pypi("dep", "1.2", files={"dep.py": "word = 'old'\n"})
    registry.pypi("dep", "2.0", files={"dep.py": "word = 'new'\n"})
    for name, wanted in (("one", "dep<2"), ("two", "dep>=2")):
        registry.pypi(name, files={f"{name}.py": CODE}, scripts={name: f"{name}:main"}, requires=(wanted,))
    assert output_of(await installer.ensure("pypi:one==1.0.0", None)) == "old []\n"
    assert output_of(await installer.ensure("pypi:two==1.0.0", None)) == "new []\n"


async def test_the_named_the_only_or_the_eponymous_script(registry, installer):
    code = {"my_server.py": "def main():\n    pass\n"}
    registry.pypi("my-server", files=code, scripts=dict.fromkeys(("other", "my-server"), "my_server:main"))
    assert (await installer.ensure("pypi:my_server==1.0.0", None))[1].endswith("/bin/my-server")
    assert (await installer.ensure("pypi:my_server==1.0.0", "other"))[1].endswith("/bin/other")
    problem = await refused(installer, "pypi:my_server==1.0.0", "python")
    assert problem.code == "no-entry"
    assert problem.detail.endswith("has no command 'python'; choose with `entry`: my-server, other")
    publish(registry, "alone", scripts=("whatever",))
    assert (await installer.ensure("pypi:alone==1.0.0", None))[1].endswith("/bin/whatever")


async def test_a_script_that_is_not_python_is_run_as_it_is(registry, installer):
    registry.pypi(
        "native",
        files={"native-1.0.0.data/scripts/native": "#!/bin/sh\necho native $1\n", "native.py": ""},
    )
    argv = await installer.ensure("pypi:native==1.0.0", None)
    assert len(argv) == 1
    assert output_of((*argv, "x")) == "native x\n"


async def test_a_library_has_nothing_to_run(registry, installer):
    registry.pypi("library")
    problem = await refused(installer, "pypi:library==1.0.0")
    assert problem.code == "no-entry"
    assert "no command at all" in problem.detail


async def test_what_would_run_code_to_be_built_is_refused(registry, installer, lock_files):
    registry.pypi("sources", wheel=False)
    problem = await refused(installer, "pypi:sources==1.0.0")
    assert problem.code == "package-unsupported"
    assert "Only wheels are installed" in problem.detail
    assert registry.downloads == []
    registry.pypi("server", requires=("sources",))
    assert (await refused(installer, "pypi:server==1.0.0")).code == "package-unsupported"
    assert not lock_files.local.exists()


@pytest.mark.parametrize(
    ("package", "code", "says"),
    [
        ("pypi:nowhere==1.0", "package-not-found", "nowhere"),
        ("pypi:server==9.9", "version-not-found", "server==9.9"),
        ("pypi:server>=1", "package-invalid", "write"),
        ("pypi:server", "package-invalid", "no version"),
    ],
)
async def test_what_is_not_there_is_told(registry, installer, package, code, says):
    publish(registry)
    problem = await refused(installer, package)
    assert (problem.code, problem.retry_after) == (code, None)
    assert says in problem.detail


async def test_a_direct_address_cannot_be_pinned(registry, installer):
    registry.pypi("dep", "1.2")
    registry.pypi("server", requires=(f"dep @ {registry.url}/files/dep-1.2-py3-none-any.whl",))
    problem = await refused(installer, "pypi:server==1.0.0")
    assert problem.code == "package-unsupported"
    assert "dep @" in problem.detail


async def test_an_index_that_asks_for_a_token(registry, installer, folder, lock_files, tmp_path):
    publish(registry)
    registry.token = "dXNlcjpoaWRkZW4="  # user:hidden
    problem = await refused(installer, "pypi:server==1.0.0")
    assert problem.code == "registry-unreachable"
    assert "UV_DEFAULT_INDEX" in problem.detail
    address = registry.url.replace("://", "://user:hidden@") + "/simple/"
    environ = {"HOME": str(tmp_path), "UV_DEFAULT_INDEX": address}
    trusted = Installer(folder, lock_files, environ=environ)
    assert output_of(await trusted.ensure("pypi:server==1.0.0", None)) == "hello []\n"
    assert "hidden" not in lock_files.local.read_text()
    problem = await refused(trusted, "pypi:server==9.9")
    assert "hidden" not in problem.detail


async def test_settings_that_would_weaken_the_installation_are_not_passed_on(
    registry, folder, lock_files, tmp_path
):
    publish(registry)
    (tmp_path / "pyproject.toml").write_text("[tool.uv]\nno-index = true\n")  # above the state folder
    environ = registry.environ(tmp_path) | {
        "UV_NO_VERIFY_HASHES": "1",
        "UV_TARGET": "/nowhere",
        "UV_NO_BINARY": "1",
    }
    argv = await Installer(folder, lock_files, environ=environ).ensure("pypi:server==1.0.0", None)
    assert output_of(argv) == "hello []\n"
