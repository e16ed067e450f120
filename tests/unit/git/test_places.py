"""Where a repository keeps its refs, found by its files."""

from __future__ import annotations

from pathlib import Path

from fairlead.git.places import locate, locate_above


def repository(folder: Path) -> Path:
    for name in ("objects", "refs/heads"):
        (folder / name).mkdir(parents=True)
    (folder / "HEAD").write_text("ref: refs/heads/main\n")
    return folder


def test_a_checkout_a_bare_one_and_none(tmp_path):
    git = repository(tmp_path / "work/.git")
    found = locate(tmp_path / "work")
    assert found is not None
    assert (found.git_dir, found.common_dir, found.worktree) == (git, git, tmp_path / "work")
    bare = locate(git)
    assert bare is not None
    assert bare.worktree is None
    assert locate(tmp_path) is None
    assert locate_above(tmp_path / "work/a/b") == found


def test_a_linked_worktree_and_a_moved_git_folder(tmp_path):
    git = repository(tmp_path / "work/.git")
    own = git / "worktrees/side"
    own.mkdir(parents=True)
    (own / "HEAD").write_text("ref: refs/heads/side\n")
    (own / "commondir").write_text("../..\n")
    side = tmp_path / "side"
    side.mkdir()
    (side / ".git").write_text(f"gitdir: {own}\n")
    found = locate(side)
    assert found is not None
    assert (found.git_dir, found.common_dir, found.worktree) == (own, git, side)
    (side / ".git").write_text("gitdir: ../work/.git\n")
    moved = locate(side)
    assert moved is not None
    assert moved.common_dir == git


def test_git_files_that_say_nothing(tmp_path):
    for text in ("", "nonsense", "gitdir: ", "gitdir: /nonexistent"):
        (tmp_path / ".git").write_text(text)
        assert locate(tmp_path) is None, text


def test_a_mark_is_another_one_after_each_kind_of_change(tmp_path):
    git = repository(tmp_path / ".git")
    found = locate(tmp_path)
    assert found is not None
    marks = [found.mark("team/main")]
    (git / "refs/heads/team").mkdir()
    assert found.folders("team/main") == {git, git / "refs/heads", git / "refs/heads/team"}
    (git / "refs/heads/team/main").write_text("1")
    marks.append(found.mark("team/main"))
    (git / "packed-refs").write_text("1")
    marks.append(found.mark("team/main"))
    (git / "HEAD").write_text("ref: refs/heads/other-branch\n")
    marks.append(found.mark("team/main"))
    (git / "reftable").mkdir()
    (git / "reftable/tables.list").write_text("1")
    marks.append(found.mark("team/main"))
    assert len(set(marks)) == 5
    assert found.mark("team/main") == marks[-1]
    assert git / "reftable" in found.folders(None)
