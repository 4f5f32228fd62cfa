"""Two revisions of the project side by side: each with its own packages, both under the present benchmarks."""

import io
import shutil
import subprocess
import zipfile
from pathlib import Path

from perf.environment import git
from perf.lab import ROOT

PACKAGES = ("hft_mmap", "api")
LOCK = "requirements.lock"


def resolve(reference: str, root: Path = ROOT) -> str | None:
    """Return the commit that `reference` names, or None if there is none (a first commit, a shallow clone)."""
    return git("rev-parse", "--verify", "--quiet", f"{reference}^{{commit}}", directory=root)


def holds_packages(commit: str, root: Path = ROOT) -> bool:
    """Say whether the packages exist in `commit`."""
    return all(git("cat-file", "-e", f"{commit}:{one}/__init__.py", directory=root) is not None for one in PACKAGES)


def same_packages(commit: str, root: Path = ROOT) -> bool:
    """Say whether the packages in the working tree are those of `commit`, with no new file beside them."""
    unchanged = git("diff", "--quiet", commit, "--", *PACKAGES, directory=root) is not None
    return unchanged and not git("ls-files", "--others", "--exclude-standard", "--", *PACKAGES, directory=root)


def same_libraries(commit: str, root: Path = ROOT) -> bool:
    """Say whether `commit` pins the libraries that the working tree pins."""
    return git("diff", "--quiet", commit, "--", LOCK, directory=root) is not None


def newest_that_differs(commit: str, most: int, root: Path = ROOT) -> str | None:
    """Return the newest of `commit` and `most` commits before it whose packages are not those of the working tree.

    None where all of them are the same; LookupError where a shallow clone ends before so many were looked at.
    """
    listed = git("rev-list", "--first-parent", f"--max-count={most + 1}", commit, directory=root) or ""
    commits = listed.splitlines()
    for one in commits:
        if not holds_packages(one, root):
            return None
        if not same_packages(one, root):
            return one
    if len(commits) <= most and git("rev-parse", "--is-shallow-repository", directory=root) == "true":
        raise LookupError(f"this clone is shallow and ends {len(commits)} commits back, all with the same packages")
    return None


def lay_out(commit: str, target: Path, root: Path = ROOT) -> Path:
    """Put the packages of `commit`, and the present perf/, below `target`; return it."""
    program = shutil.which("git")
    assert program is not None
    command = [program, "archive", "--format=zip", commit, *PACKAGES]
    archive = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        packed.extractall(target)
    return _with_benchmarks(target)


def lay_out_present(target: Path) -> Path:
    """Put the packages as they are in the working tree, and the present perf/, below `target`; return it."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, target / package, ignore=shutil.ignore_patterns("__pycache__"))
    return _with_benchmarks(target)


def _with_benchmarks(target: Path) -> Path:
    shutil.copytree(ROOT / "perf", target / "perf", ignore=shutil.ignore_patterns("__pycache__", "results"))
    return target
