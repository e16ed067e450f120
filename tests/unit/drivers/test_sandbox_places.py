"""What stands at the paths of a sandbox."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from fairlead.drivers.sandbox import Access, Place
from fairlead.drivers.sandbox_places import follow, survey
from fairlead.model.launch import ProcessLaunch, Sandbox


def launch(folder: Path, **more) -> ProcessLaunch:
    return ProcessLaunch("x-1", ("x",), {}, folder, folder / "log", **more)


def test_links_are_followed_one_by_one(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/up").symlink_to("../a/b")
    (tmp_path / "one").symlink_to(tmp_path / "a/up")
    real, links = follow(tmp_path / "one/new/../file")
    assert real == tmp_path.resolve() / "a/b/file"
    assert [path.name for path, _ in links[-2:]] == ["one", "up"]
    assert links[-1] == (tmp_path.resolve() / "a/up", "../a/b")


def test_links_in_a_circle_are_an_error(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        follow(tmp_path / "a")


def test_places_are_real_paths_that_are_there(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("real")
    sandbox = Sandbox(
        writable=(tmp_path / "link",), hidden=(tmp_path / "file", tmp_path / "none"), network=False
    )
    layout = survey(launch(tmp_path, memory_limit=100), sandbox, "/usr/bin/env")
    real = PurePosixPath(tmp_path.resolve())
    assert Place(real / "real", Access.WRITE) in layout.places
    assert Place(real / "file", Access.HIDDEN, folder=False) in layout.places
    assert not any(place.path.name in ("link", "none") for place in layout.places)
    assert (real / "link", "real") in layout.links
    assert (layout.working_directory, layout.network, layout.memory) == (real, False, 50)


def test_names_can_be_looked_up_where_there_is_a_network(tmp_path):
    resolver = Path("/etc/resolv.conf").resolve().parent
    shown = Place(PurePosixPath(resolver), Access.READ)
    assert shown in survey(launch(tmp_path), Sandbox(), "/bin/true").places
    assert (shown in survey(launch(tmp_path), Sandbox(network=False), "/bin/true").places) is False


def program(folder: Path) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").touch()
    return folder / "bin/python"


def test_a_program_brings_what_is_installed_with_it_all_along_its_links(tmp_path):
    interpreter = program(tmp_path / "home/pythons/3.11")
    (tmp_path / "home/env/bin").mkdir(parents=True)
    (tmp_path / "home/env/bin/python").symlink_to(interpreter)
    sandbox = Sandbox(veiled=(tmp_path / "home",))
    layout = survey(launch(tmp_path), sandbox, str(tmp_path / "home/env/bin/python"))
    read = {place.path.name for place in layout.places if place.access is Access.READ}
    assert {"env", "3.11"} <= read


def test_a_program_in_a_home_does_not_bring_the_home(tmp_path):
    node = program(tmp_path / "home")
    layout = survey(launch(tmp_path), Sandbox(veiled=(tmp_path / "home",)), str(node))
    read = {place.path for place in layout.places if place.access is Access.READ}
    assert PurePosixPath(node.resolve()) in read
    assert PurePosixPath(tmp_path.resolve() / "home") not in read


def test_its_own_folder_for_temporary_files_is_private(tmp_path):
    given = launch(tmp_path)
    given.environment["TMPDIR"] = str(tmp_path)
    layout = survey(given, Sandbox(), "/bin/true")
    assert Place(PurePosixPath(tmp_path.resolve()), Access.PRIVATE) in layout.places
