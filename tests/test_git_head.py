"""The commit of a folder is read from files: nothing that a repository names is run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ensembles.tables import git_head as module
from ensembles.tables.git_head import git_head
from ensembles.tables.provenance import provenance

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git to make folders")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def git(folder: Path, *arguments: str) -> str:
    """Run git apart from the configuration of whoever runs the tests."""
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "protocol.file.allow=always")
    environment = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *who, "-C", str(folder), *arguments],
        check=True, capture_output=True, text=True,
        env={**environment, "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"},
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two tracked files, one of them in a folder, committed."""
    folder = tmp_path / "here"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "a.txt").write_text("one")
    (folder / "sub").mkdir()
    (folder / "sub" / "b.txt").write_text("two")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "x")
    return folder


def detached(folder: Path) -> Path:
    git(folder, "checkout", "-q", "--detach")
    return folder


def packed(folder: Path) -> Path:
    git(folder, "pack-refs", "--all")
    assert not (folder / ".git/refs/heads/main").exists()
    return folder


def further_tree(folder: Path) -> Path:
    git(folder, "worktree", "add", "-q", "-b", "other", str(folder.parent / "tree"))
    return folder.parent / "tree"


def submodule(folder: Path) -> Path:
    git(folder, "submodule", "add", "-q", str(folder), "inner")
    return folder / "inner"


def fourth_version(folder: Path) -> Path:
    git(folder, "update-index", "--index-version", "4")
    return folder


@pytest.mark.parametrize(
    "place", [lambda x: x, lambda x: x / "sub", detached, packed, further_tree, submodule,
              fourth_version],
)  # fmt: skip
def test_the_commit_is_git_s_own(place, repository: Path) -> None:
    folder = place(repository)
    assert git_head(folder) == git(folder, "rev-parse", "HEAD")


@pytest.mark.parametrize("version", ["2", "4"])
@pytest.mark.parametrize(
    "change",
    [
        lambda x: (x / "a.txt").write_text("longer"),
        lambda x: os.utime(x / "sub/b.txt", (1, 1)),
        lambda x: (x / "sub/b.txt").unlink(),
    ],
)
def test_files_that_differ_are_told(change, version: str, repository: Path) -> None:
    git(repository, "update-index", "--index-version", version)
    change(repository)
    assert git_head(repository) == git(repository, "rev-parse", "HEAD") + "-dirty"


def test_what_git_is_told_to_leave_alone_is_left_alone(repository: Path) -> None:
    git(repository, "update-index", "--assume-unchanged", "a.txt")
    git(repository, "update-index", "--skip-worktree", "sub/b.txt")
    (repository / "a.txt").write_text("longer")
    (repository / "sub" / "b.txt").unlink()
    assert git_head(repository) == git(repository, "rev-parse", "HEAD")


def program(folder: Path) -> str:
    """A program that leaves a trace when it is run."""
    path = folder.parent / "program"
    path.write_text(f"#!{sys.executable}\nopen({str(folder.parent / 'ran')!r}, 'w').close()\n")
    path.chmod(0o755)
    return str(path)


SETTINGS = {
    "monitor": {"core.fsmonitor": "{}"},
    "clean filter": {"filter.x.clean": "{}", "filter.x.required": "true"},
    "process filter": {"filter.x.process": "{}"},
    "ssh": {"core.sshCommand": "{}", "remote.o.url": "ssh://x/y", "remote.o.promisor": "true"},
    "alias": {"alias.describe": "!{}", "alias.rev-parse": "!{}", "alias.status": "!{}"},
    "pager": {"core.pager": "{}", "pager.describe": "{}", "core.editor": "{}"},
    "external difference": {"diff.external": "{}", "diff.x.textconv": "{}"},
    "folder of hooks": {"core.hooksPath": "hooks"},
    "credentials": {"credential.helper": "{}", "core.askPass": "{}", "gpg.program": "{}"},
    "safe folder": {"safe.directory": "*", "core.fsmonitor": "{}"},
    "working tree elsewhere": {"core.worktree": "/", "core.fsmonitor": "{}"},
}  # fmt: skip


@pytest.mark.parametrize("attack", [*SETTINGS, "include", "hooks", "variables", "git in the way"])
def test_nothing_is_run(attack: str, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, commit = program(repository), git(repository, "rev-parse", "HEAD")
    (repository / ".gitattributes").write_text("* filter=x diff=x\n")
    os.utime(repository / "a.txt", (2, 2))  # so that git would have to look into it
    config = repository / ".git" / "config"
    for name, text in SETTINGS.get(attack, {}).items():
        git(repository, "config", name, text.format(named))
    if attack == "include":
        (repository / "more").write_text(f"[core]\n\tfsmonitor = {named}\n")
        config.write_text(config.read_text() + "[include]\n\tpath = ../more\n")
    if attack == "hooks":
        for hook in ("post-index-change", "fsmonitor-watchman", "reference-transaction"):
            shutil.copy(named, repository / ".git" / "hooks" / hook)
    if attack == "variables":
        more = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.fsmonitor"}
        more |= {"GIT_CONFIG_VALUE_0": named, "GIT_DIR": "/nowhere", "GIT_SSH_COMMAND": named}
        more |= {"GIT_EXTERNAL_DIFF": named, "GIT_TRACE2": named, "GIT_EXEC_PATH": "/nowhere"}
        for name, text in more.items():
            monkeypatch.setenv(name, text)
    if attack == "git in the way":
        shutil.copy(named, repository / "git")
        monkeypatch.setenv("PATH", f"{repository}:.")
    monkeypatch.chdir(repository)
    assert provenance()["git_commit"] == f"{commit}-dirty"
    assert not (repository.parent / "ran").exists()


def test_the_programs_of_the_attacks_do_run_when_git_is_asked(repository: Path) -> None:
    git(repository, "config", "core.fsmonitor", program(repository))
    git(repository, "status")
    assert (repository.parent / "ran").exists()


@pytest.mark.parametrize(
    "files",
    [
        {"HEAD": ""},
        {"HEAD": "ref: ../../secret"},
        {"HEAD": "ref: refs/../../secret"},
        {"HEAD": "ref: refs/heads/a\n\nmore"},
        {"HEAD": "ref: refs/heads/a", "refs/heads/a": "ref: refs/heads/a"},
        {"HEAD": "ref: refs/heads/a", "refs/heads/a": "root:x:0:0"},
        {"HEAD": "ref: refs/heads/a", "packed-refs": "\n# x\nzz refs/heads/a\n"},
        {"HEAD": "\xff" * 9},
        {"HEAD": COMMIT + "\n" * 5000},
        {"HEAD": COMMIT, "index": "DIRC\0\0\0\2\xff\xff\xff\xff"},
        {"HEAD": COMMIT, "index": "DIRC\0\0\0\4\0\0\0\1" + "\xff" * 400},
        {"HEAD": COMMIT, "commondir": "/nowhere\n" * 1000},
    ],
)
def test_damaged_files_of_git_tell_nothing(files: dict[str, str], tmp_path: Path) -> None:
    (tmp_path.parent / "secret").write_text(COMMIT)
    for name, text in files.items():
        path = tmp_path / ".git" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("latin-1"))
    assert git_head(tmp_path) is None


@pytest.mark.parametrize("line", ["gitdir: .", "gitdir: /nowhere", "gitdir: loop", "x", "\0"])
def test_a_file_that_points_to_no_repository_tells_nothing(line: str, tmp_path: Path) -> None:
    (tmp_path / ".git").write_text(line)
    assert git_head(tmp_path) is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    os.mkfifo(tmp_path / ".git" / "HEAD")
    assert git_head(tmp_path) is None


def test_names_that_lead_out_of_the_folder_are_not_looked_at(tmp_path: Path) -> None:
    for name in ("/etc/passwd", "../x", "a/../../x"):
        assert not module._differs(tmp_path, name, 0o100644, 0, 0)
