"""What git knows: which commits to look at, which version of which file each of them holds, and who wrote the lines.

It owns every call of git. It caches nothing: that is the demo's affair.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MAX_COMMITS = 20_000  # of the mainline, newest first: walking more takes longer than the rest of the demo
MAX_BYTES = 300_000  # a longer file is data, not prose or a program
NOT_TEXT = frozenset(
    ".7z .a .avif .bin .bmp .bz2 .class .db .dll .dylib .eot .exe .gif .gz .ico .jar .jpeg .jpg .lock .map .mo .mp3"
    " .mp4 .npy .npz .o .otf .pdf .pkl .png .pyc .so .sqlite .svg .tar .tgz .tif .tiff .ttf .wasm .wav .webp .whl"
    " .woff .woff2 .xz .zip .zst".split()
)
GENERATED = ("package-lock.json", "pnpm-lock.yaml", "go.sum", ".min.js", ".min.css")


class GitError(Exception):
    """git said no; the message is git's."""


@dataclass(frozen=True, order=True)
class Version:
    """One version of one file, named by the mainline commit that gave it this content.

    The blob would not do as a name. A file that is changed and changed back has its old blob again, but its lines
    have new authors. Between two commits of the mainline that change a file, blame cannot differ: a commit hands
    all blame for a file that it shares with its first parent to that parent. So this pair decides what blame says.
    """

    commit: str
    path: str


@dataclass(frozen=True)
class Sample:
    """A commit of the mainline and the files in it."""

    commit: str
    time: int
    files: tuple[Version, ...]


@dataclass(frozen=True)
class History:
    commits: tuple[tuple[str, int], ...]  # the mainline, oldest first, with commit times
    samples: tuple[Sample, ...]
    shallow: bool

    def versions(self) -> list[Version]:
        """Every version that some sample holds, once."""
        return sorted({version for sample in self.samples for version in sample.files})

    def save(self, path: Path) -> None:
        versions = self.versions()
        number = {version: at for at, version in enumerate(versions)}
        samples = [
            (sample.commit, sample.time, [number[file] for file in sample.files]) for sample in self.samples
        ]
        pairs = [(version.commit, version.path) for version in versions]
        path.write_text(json.dumps([self.commits, pairs, samples, self.shallow]))

    @classmethod
    def load(cls, path: Path) -> History:
        commits, pairs, samples, shallow = json.loads(path.read_text())
        versions = [Version(*pair) for pair in pairs]
        return cls(
            tuple((commit, time) for commit, time in commits),
            tuple(
                Sample(commit, time, tuple(versions[at] for at in files)) for commit, time, files in samples
            ),
            shallow,
        )


def git(repository: Path, *arguments: str, stdin: str | None = None) -> bytes:
    command = ["git", "-C", str(repository), "-c", "core.quotePath=false", *arguments]
    done = subprocess.run(
        command,
        input=None if stdin is None else stdin.encode(errors="surrogateescape"),
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise GitError(done.stderr.decode(errors="replace").strip() or f"git {arguments[0]} failed")
    return done.stdout


def blame(repository: Path, commit: str, path: str) -> dict[int, int]:
    """How many lines of the file come from which moment: lines by author time in seconds."""
    output = git(repository, "blame", "--porcelain", commit, "--", path)
    if b"\0" in output:
        return {}  # not a text
    lines: Counter[bytes] = Counter()
    times: dict[bytes, int] = {}
    origin = b""
    header = True
    for line in output.split(b"\n"):
        if header and line:
            origin, header = line[:40], False
        elif line.startswith(b"\t"):
            lines[origin] += 1
            header = True
        elif line.startswith(b"author-time "):
            times[origin] = int(line[12:])
    ages: Counter[int] = Counter()
    for origin, count in lines.items():
        ages[times[origin]] += count
    return dict(ages)


def describe(repository: Path, commit: str) -> str:
    """A commit as a web page would show it: who, when, why, and what changed."""
    shown = git(repository, "show", "--stat", "--format=%an, %as%n%n%B", "--first-parent", commit)
    return shown.decode(errors="replace")


def read(repository: Path, samples: int) -> History:
    """Walk the mainline once and keep what about `samples` of its commits hold."""
    git(repository, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    listing = git(repository, "log", "--first-parent", f"--max-count={MAX_COMMITS}", "--format=%H %ct")
    commits = [(line[:40], int(line[41:])) for line in listing.decode().splitlines()]
    commits.reverse()
    chosen = _choose(commits, samples)
    found = _walk(repository, commits, chosen)
    small = _small(repository, {blob for files in found.values() for blob, _ in files.values()})
    return History(
        commits=tuple(commits),
        samples=tuple(
            Sample(
                commit,
                time,
                tuple(
                    sorted(
                        Version(since, path) for path, (blob, since) in found[commit].items() if blob in small
                    )
                ),
            )
            for commit, time in commits
            if commit in chosen
        ),
        shallow=git(repository, "rev-parse", "--is-shallow-repository").strip() == b"true",
    )


def thin(history: History, limit: int) -> History:
    """Drop samples, then files, until at most `limit` versions are left.

    Of the samples at most half, every other one. Files go whole, chosen by the hash of their path.
    """
    samples = history.samples
    if len(history.versions()) > 3 * limit:
        samples = samples[-1::-2][::-1]
    by_path = Counter(version.path for version in {file for sample in samples for file in sample.files})
    kept: set[str] = set()
    for path in sorted(
        by_path, key=lambda path: hashlib.sha256(path.encode(errors="surrogateescape")).digest()
    ):
        if kept and by_path[path] > limit:
            break
        limit -= by_path[path]
        kept.add(path)
    thinner = (
        Sample(sample.commit, sample.time, tuple(file for file in sample.files if file.path in kept))
        for sample in samples
    )
    return History(history.commits, tuple(thinner), history.shallow)


def _choose(commits: list[tuple[str, int]], samples: int) -> set[str]:
    """Half of the samples evenly in time, half evenly among the commits: history has bursts and silences."""
    if len(commits) <= samples:
        return {commit for commit, _ in commits}
    last = len(commits) - 1
    half = max(samples // 2, 2)
    chosen = {commits[last * step // (half - 1)][0] for step in range(half)}
    start, end = commits[0][1], commits[last][1]
    at = 0
    for step in range(half):
        while at < last and commits[at + 1][1] <= start + (end - start) * step // (half - 1):
            at += 1
        chosen.add(commits[at][0])
    return chosen


def _walk(
    repository: Path, commits: list[tuple[str, int]], chosen: set[str]
) -> dict[str, dict[str, tuple[str, str]]]:
    """For each chosen commit: path -> (blob, the mainline commit since which it is so)."""
    first = commits[0][0]
    present: dict[str, tuple[str, str]] = {}
    for entry in git(repository, "ls-tree", "-r", "-z", first).split(b"\0")[:-1]:
        about, _, name = entry.partition(b"\t")
        mode, _, blob = about.decode().split()
        _place(present, name, mode, blob, first)
    found = {first: dict(present)} if first in chosen else {}
    log = git(
        repository, "log", "--first-parent", "-m", "--reverse", "--raw", "--no-renames", "--no-abbrev", "-z",
        "--format=%x01%H", f"--max-count={len(commits)}", commits[-1][0],
    )  # fmt: skip
    for block in log.split(b"\x01")[1:]:
        fields = block.split(b"\0")
        commit = fields[0].decode().strip()
        if commit == first:
            continue
        fields = [field for field in fields[1:] if field]
        for about, name in zip(fields[::2], fields[1::2], strict=True):
            _, mode, _, blob, _ = about.decode().strip("\n:").split()
            _place(present, name, mode, blob, commit)
        if commit in chosen:
            found[commit] = dict(present)
    return found


def _place(present: dict[str, tuple[str, str]], name: bytes, mode: str, blob: str, commit: str) -> None:
    path = name.decode(errors="surrogateescape")
    ordinary = mode in ("100644", "100755")  # neither a link nor a submodule, nor gone
    if ordinary and PurePosixPath(path).suffix.lower() not in NOT_TEXT and not path.endswith(GENERATED):
        present[path] = (blob, commit)
    else:
        present.pop(path, None)


def _small(repository: Path, blobs: set[str]) -> set[str]:
    """Those of the blobs that are neither empty nor too long."""
    asked = "".join(f"{blob}\n" for blob in sorted(blobs))
    answers = git(repository, "cat-file", "--batch-check=%(objectname) %(objectsize)", stdin=asked)
    sizes = (answer.split() for answer in answers.decode().splitlines())
    return {name for name, size, *_ in sizes if size.isdigit() and 0 < int(size) <= MAX_BYTES}
