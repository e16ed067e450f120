"""npm itself, against a registry on loopback."""

import json
import os
import subprocess
import sys

import pytest

from fairlead.model.errors import ProblemError
from fairlead.packages.installer import Installer

HERE = {"darwin": "darwin"}.get(sys.platform, "linux")
ELSEWHERE = {"darwin": "linux"}.get(sys.platform, "darwin")


def publish(registry, name="server", **manifest):
    registry.npm(
        name,
        files={"index.js": "console.log(require('dep').word)"},
        bin="index.js",
        dependencies={"dep": "^1"},
        **manifest,
    )
    registry.npm("dep", "1.2.0", files={"index.js": "exports.word = 'hello'"})


def output_of(argv):
    return subprocess.run(argv, env={}, capture_output=True, text=True, check=True, timeout=60).stdout


async def refused(installer, package, entry=None):
    with pytest.raises(ProblemError) as caught:
        await installer.ensure(package, entry)
    return caught.value.problem


async def test_a_package_is_resolved_pinned_installed_and_runs(
    registry, installer, folder, lock_files, progress
):
    publish(registry, "@scope/server")
    argv = await installer.ensure("npm:@scope/server@1.0.0", None)
    assert output_of(argv) == "hello\n"
    assert argv[1].startswith(f"{folder}/npm/@scope+server@1.0.0-")
    assert [text for _, text in progress[:-1]] == [
        "resolving",
        "pinned on this machine; `fairlead lock` pins it for the team",
        "installing 2 packages",
    ]
    assert progress[-1][0] == "npm:@scope/server@1.0.0"
    assert progress[-1][1].startswith("installed in ")
    assert not lock_files.committed.exists()
    assert registry.url not in lock_files.local.read_text()
    assert list((folder / "tmp").iterdir()) == []


async def test_the_next_start_finds_it_without_network_or_process(
    registry, installer, folder, lock_files, monkeypatch
):
    publish(registry)
    argv = await installer.ensure("npm:server@1.0.0", None)
    asked = len(registry.requests)

    async def no_process(*args, **kwargs):
        raise AssertionError(args)

    monkeypatch.setattr("asyncio.create_subprocess_exec", no_process)
    later = Installer(folder, lock_files, environ={})
    assert await later.ensure("npm:server@1.0.0", None) == argv
    assert len(registry.requests) == asked


async def test_the_committed_lock_file_decides(registry, installer, lock_files, progress):
    publish(registry)
    await installer.lock_all(["npm:server@1.0.0"])
    registry.npm("dep", "1.3.0", files={"index.js": "exports.word = 'newer'"})
    assert output_of(await installer.ensure("npm:server@1.0.0", None)) == "hello\n"
    assert not lock_files.local.exists()
    await installer.lock_all(["npm:server@1.0.0"], anew=True)
    assert output_of(await installer.ensure("npm:server@1.0.0", None)) == "newer\n"


async def test_no_script_of_a_package_runs_whatever_the_user_has_set(registry, folder, lock_files, tmp_path):
    mark = tmp_path / "ran"
    scripts = dict.fromkeys(("preinstall", "install", "postinstall", "prepare"), f"touch {mark}")
    publish(registry, scripts=scripts, hasInstallScript=True)
    environ = registry.environ(tmp_path) | {
        "npm_config_ignore_scripts": "false",
        "npm_config_dangerously_allow_all_scripts": "true",
        "PATH": os.environ["PATH"],
    }
    argv = await Installer(folder, lock_files, environ=environ).ensure("npm:server@1.0.0", None)
    assert output_of(argv) == "hello\n"
    assert not mark.exists()


async def test_what_other_platforms_need_is_pinned_but_not_installed(registry, folder, lock_files, tmp_path):
    environ = registry.environ(tmp_path) | {"npm_config_omit": "optional", "npm_config_optional": "false"}
    registry.npm(
        "server",
        files={"index.js": ""},
        bin="index.js",
        optionalDependencies={"on-a": "1.0.0", "on-b": "1.0.0"},
    )
    registry.npm("on-a", os=[HERE])
    registry.npm("on-b", os=[ELSEWHERE], cpu=["arm64", "x64"])
    argv = await Installer(folder, lock_files, environ=environ).ensure("npm:server@1.0.0", None)
    ((_, closure),) = lock_files.read_local().items()
    assert closure["node_modules/on-b"].os == [ELSEWHERE]
    assert closure["node_modules/on-b"].cpu == ["arm64", "x64"]
    assert closure["node_modules/on-b"].optional
    modules = {path.name for path in (folder / "npm").glob("*/node_modules/[!.]*")}
    assert modules == {"server", "on-a"}
    assert argv[1].endswith("/node_modules/server/index.js")


async def test_peer_and_nested_dependencies_are_installed_from_the_lock(registry, installer, lock_files):
    code = "console.log(require('a'), require('b'), require('peer'))"
    needs = {"dependencies": {"a": "1.0.0", "b": "2.0.0"}, "peerDependencies": {"peer": "*"}}
    registry.npm("server", files={"index.js": code}, bin="index.js", **needs)
    registry.npm("a", files={"index.js": "module.exports = require('b')"}, dependencies={"b": "1.0.0"})
    for version in ("1.0.0", "2.0.0"):
        registry.npm("b", version, files={"index.js": f"module.exports = '{version}'"})
    registry.npm("peer", files={"index.js": "module.exports = 'peer'"})
    assert output_of(await installer.ensure("npm:server@1.0.0", None)) == "1.0.0 2.0.0 peer\n"
    ((_, closure),) = lock_files.read_local().items()
    assert "node_modules/a/node_modules/b" in closure


async def test_what_lies_in_the_archive_of_another_package_is_installed_with_it(
    registry, installer, lock_files
):
    files = {
        "index.js": "console.log(require('inner'))",
        "node_modules/inner/package.json": '{"name": "inner", "version": "1.0.0"}',
        "node_modules/inner/index.js": "module.exports = 'bundled'",
    }
    bundle = {"dependencies": {"inner": "1.0.0"}, "bundleDependencies": ["inner"]}
    registry.npm("server", files=files, bin="index.js", **bundle)
    assert output_of(await installer.ensure("npm:server@1.0.0", None)) == "bundled\n"
    ((_, closure),) = lock_files.read_local().items()
    assert closure["node_modules/server/node_modules/inner"].in_bundle


async def test_what_a_package_pins_itself_is_pinned_too(registry, installer, lock_files):
    for version in ("1.0.0", "1.1.0"):
        registry.npm("dep", version, files={"index.js": f"module.exports = '{version}'"})
    own = {"": {"dependencies": {"dep": "*"}}, "node_modules/dep": {"version": "1.0.0"}}
    own["node_modules/dep"]["integrity"] = registry.integrity("dep", "1.0.0")
    shrinkwrap = json.dumps({"lockfileVersion": 3, "packages": own})
    files = {"index.js": "console.log(require('dep'))", "npm-shrinkwrap.json": shrinkwrap}
    registry.npm("server", files=files, bin="index.js", dependencies={"dep": "*"}, _hasShrinkwrap=True)
    await installer.lock_all(["npm:server@1.0.0"])
    assert output_of(await installer.ensure("npm:server@1.0.0", None)) == "1.0.0\n"
    ((_, closure),) = lock_files.read_committed().items()
    assert closure["node_modules/server/node_modules/dep"].version == "1.0.0"


class TestEntries:
    @pytest.mark.parametrize(
        ("bins", "entry", "runs"),
        [
            ("./a.js", None, "a.js"),
            ({"whatever": "a.js"}, None, "a.js"),
            ({"other": "b.js", "server": "a.js"}, None, "a.js"),
            ({"other": "b.js", "server": "a.js"}, "other", "b.js"),
            ({"shebang": "c"}, None, "c"),
        ],
    )
    async def test_the_named_the_only_or_the_eponymous_one(self, registry, installer, bins, entry, runs):
        files = {"a.js": "", "b.js": "", "c": "#!/usr/bin/env -S node --no-warnings\n"}
        registry.npm("@s/server", files=files, bin=bins)
        argv = await installer.ensure("npm:@s/server@1.0.0", entry)
        assert argv[1].endswith(f"/node_modules/@s/server/{runs}")
        assert len(argv) == 2

    async def test_which_one_is_not_clear(self, registry, installer):
        registry.npm("server", files={"a.js": "", "b.js": ""}, bin={"one": "a.js", "two": "b.js"})
        problem = await refused(installer, "npm:server@1.0.0")
        assert (problem.code, problem.retry_after) == ("no-entry", None)
        assert problem.detail.endswith("no command of its own name; choose with `entry`: one, two")
        problem = await refused(installer, "npm:server@1.0.0", "three")
        assert problem.detail.endswith("has no command 'three'; choose with `entry`: one, two")
        assert (await installer.ensure("npm:server@1.0.0", "two"))[1].endswith("b.js")

    @pytest.mark.parametrize(
        "manifest",
        [{}, {"bin": {"server": "missing.js"}}, {"bin": {"server": "../../../../etc/passwd"}}, {"bin": {}}],
    )
    async def test_none_at_all(self, registry, installer, manifest):
        registry.npm("server", files={"index.js": ""}, **manifest)
        problem = await refused(installer, "npm:server@1.0.0")
        assert problem.code == "no-entry"
        assert "no command at all" in problem.detail

    async def test_one_that_is_not_javascript(self, registry, installer):
        registry.npm("server", files={"run": "#!/bin/sh\necho no\n"}, bin="run")
        problem = await refused(installer, "npm:server@1.0.0")
        assert problem.code == "no-entry"
        assert "no JavaScript file" in problem.detail


class TestRefusals:
    async def test_no_such_package(self, registry, installer):
        problem = await refused(installer, "npm:nowhere@1.0.0")
        assert problem.code == "package-not-found"
        assert "nowhere" in problem.detail

    async def test_no_such_version(self, registry, installer):
        publish(registry)
        problem = await refused(installer, "npm:server@9.9.9")
        assert problem.code == "version-not-found"
        assert "npm view server versions" in problem.detail

    async def test_a_dependency_that_does_not_exist_is_named(self, registry, installer):
        registry.npm("server", dependencies={"gone": "1.0.0"})
        assert "gone" in (await refused(installer, "npm:server@1.0.0")).detail

    @pytest.mark.parametrize(
        "address", ["git+https://user:hidden@127.0.0.1/x.git", "{url}/x/-/1.0.0.tgz", "file:../x"]
    )
    async def test_what_comes_from_elsewhere_than_a_registry(self, registry, installer, lock_files, address):
        registry.npm("x")
        registry.npm("server", dependencies={"x": address.format(url=registry.url)})
        problem = await refused(installer, "npm:server@1.0.0")
        assert problem.code == "package-unsupported"
        assert "hidden" not in problem.detail
        assert not lock_files.local.exists()

    @pytest.mark.parametrize(
        "package", ["npm:server", "npm:server@latest", "npm:server@^1.0.0", "server", "npm:../x@1.0.0"]
    )
    async def test_what_names_no_version(self, installer, package):
        problem = await refused(installer, package)
        assert problem.code == "package-invalid"
        assert "write" in problem.detail

    async def test_a_registry_that_asks_for_a_token(self, registry, installer, folder, lock_files, tmp_path):
        publish(registry)
        registry.token = "very-hidden"
        problem = await refused(installer, "npm:server@1.0.0")
        assert problem.code == "registry-unreachable"
        assert "~/.npmrc" in problem.detail
        host = registry.url.removeprefix("http:")
        (tmp_path / ".npmrc").write_text(
            f"{host}/:_authToken=${{MY_TOKEN}}\nignore-scripts=false\nomit=optional\n"
        )
        environ = {**registry.environ(tmp_path), "MY_TOKEN": registry.token}
        trusted = Installer(folder, lock_files, environ=environ)
        assert output_of(await trusted.ensure("npm:server@1.0.0", None)) == "hello\n"
        assert registry.token not in lock_files.local.read_text()


async def test_the_registry_of_a_scope_comes_from_the_users_npmrc(registry, folder, lock_files, tmp_path):
    publish(registry, "@ours/server")
    npmrc = tmp_path / "npmrc"
    npmrc.write_text(f"registry={registry.url}\n")
    environ = {"HOME": str(tmp_path), "NPM_CONFIG_USERCONFIG": str(npmrc)}
    argv = await Installer(folder, lock_files, environ=environ).ensure("npm:@ours/server@1.0.0", None)
    assert output_of(argv) == "hello\n"


async def test_the_marker_says_what_is_installed(registry, installer, folder):
    publish(registry)
    await installer.ensure("npm:server@1.0.0", None)
    (mark,) = (folder / "npm").glob("*/installed.json")
    assert json.loads(mark.read_text()) == {
        "package": "npm:server@1.0.0",
        "commands": {"server": "node_modules/server/index.js"},
    }
