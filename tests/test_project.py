"""The project's own files: locks that match `pyproject.toml`, and a wheel that has everything."""

import ast
import hashlib
import json
import re
import shutil
import struct
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

import hft_mmap
from tests.service import ROOT

PACKAGES = ("hft_mmap", "api")
REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)>=([0-9.]+)(?:,<[0-9.]+)?(?:; .+)?")
PIN = re.compile(r"^([a-z0-9._-]+)==([^\s;]+)", re.MULTILINE)


def project() -> dict[str, Any]:
    """Return `pyproject.toml`."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins(lock: str) -> dict[str, str]:
    """Return name and version of everything that a lock file installs."""
    return dict(PIN.findall((ROOT / lock).read_text(encoding="utf-8")))


def numbers(version: str) -> tuple[int, ...]:
    """Return a version as numbers that compare."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


@pytest.mark.parametrize(("lock", "group"), [("requirements.lock", "build"), ("requirements-dev.lock", "dev")])
def test_the_locks_have_every_direct_dependency(lock: str, group: str) -> None:
    """Who changes a dependency runs `make lock`; each is pinned at or above what pyproject.toml asks for."""
    document = project()
    groups = document["dependency-groups"]
    wanted = [*document["project"]["dependencies"], *groups["build"], *groups[group]]
    pinned = pins(lock)
    for requirement in (entry for entry in wanted if isinstance(entry, str)):
        match = REQUIREMENT.fullmatch(requirement)
        assert match, f"{requirement} is not NAME>=VERSION, perhaps with an upper bound and a marker"
        assert numbers(pinned[match[1].lower().replace(".", "-")]) >= numbers(match[2]), requirement


def normal(distribution: str) -> str:
    """Return the one spelling of a distribution's name."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def imported(package: str) -> set[str]:
    """Return the names of what the modules of a package import, the first part of each, wherever they do so."""
    found: set[str] = set()
    for source in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(source.read_bytes())):
            if isinstance(node, ast.Import):
                found.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_imported_is_a_direct_dependency(package: str) -> None:
    """Or of an extra: what only comes along with another package may stay away with its next version."""
    document = project()["project"]
    wanted = [*document["dependencies"], *chain(*document["optional-dependencies"].values())]
    named = {normal(requirement.partition(">=")[0]) for requirement in wanted}
    brought = packages_distributions()
    names = imported(package) - sys.stdlib_module_names - set(PACKAGES)
    assert names
    # NOTE: of Python 3.14, in place of backports.zstd; there for mypy alone; what whoever uses the test kit has.
    for name in names - {"compression", "_typeshed", "hypothesis"}:
        assert named & set(map(normal, brought[name])), f"{package} imports {name}"


def test_all_locks_agree() -> None:
    """The tests run with the very versions that the service runs with, and that an extra brings."""
    tested = pins("requirements-dev.lock").items()
    assert pins("requirements.lock").items() <= tested
    for extra, wanted in project()["project"]["optional-dependencies"].items():
        pinned = pins(f"requirements-{extra}.lock")
        assert pinned.items() <= tested
        assert {requirement.partition(">=")[0] for requirement in wanted} <= pinned.keys()


@pytest.mark.parametrize("lock", sorted(path.name for path in ROOT.glob("requirements*.lock")))
def test_the_locks_name_no_index(lock: str) -> None:
    """Where packages come from is the business of the machine; that they are the right ones, the hashes'."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index" not in text
    assert all("--hash=sha256:" in entry for entry in re.split(r"\n(?=[a-z])", text)[1:])


def test_what_is_shipped_of_others_is_what_was_fetched() -> None:
    """The files in git have the hashes that `make assets` wrote down, and come with their licence."""
    vendor = ROOT / "api" / "static" / "vendor"
    locked = json.loads((ROOT / ".ci" / "assets" / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    record = json.loads((vendor / "vendor.json").read_text(encoding="utf-8"))
    shipped = {"vendor.json"}
    for package, entry in record.items():
        assert {name: locked[f"node_modules/{package}"][name] for name in ("version", "license", "integrity")} == {
            name: entry[name] for name in ("version", "license", "integrity")
        }
        for name, digest in entry["sha256"].items():
            assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest, name
        assert any("licence" in name for name in entry["sha256"])
        shipped |= set(entry["sha256"])
    assert {path.name for path in vendor.iterdir()} == shipped


SCREEN = r'^([A-Z]+) = \{"width": (\d+), "height": (\d+)\}$'  # of .ci/screenshot.py


@pytest.mark.parametrize("document", ["README.md", "docs/dashboard.md"])
def test_the_picture_of_the_dashboard_is_the_one_that_make_takes(document: str) -> None:
    """The documents show docs/dashboard.png first, and each picture has the size of what `make screenshot` writes."""
    script = (ROOT / ".ci" / "screenshot.py").read_text(encoding="utf-8")
    sizes = {name: (int(wide), int(high)) for name, wide, high in re.findall(SCREEN, script, re.MULTILINE)}
    taken = dict(re.findall(r'^    "([\w-]+)": \{"viewport": (\w+),', script, re.MULTILINE))
    shown = re.findall(r"^!\[[^]]*\]\(([^)]*)\)$", (ROOT / document).read_text(encoding="utf-8"), re.MULTILINE)
    pictures = [(ROOT / document).parent / one for one in shown]
    assert pictures[0] == ROOT / "docs" / "dashboard.png"
    for picture in pictures:
        assert picture.read_bytes()[:16] == b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
        assert struct.unpack(">2I", picture.read_bytes()[16:24]) == sizes[taken[picture.stem]]


def test_the_package_knows_its_version() -> None:
    """The one that pyproject.toml names."""
    assert hft_mmap.__version__ == project()["project"]["version"]


def test_the_wheel_has_every_module_and_the_data_files(tmp_path: Path) -> None:
    """`pip install .` gives what a checkout has: modules, type markers, the OpenAPI document; and every licence."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path, source],
        check=True,
    )
    (path,) = tmp_path.glob("hft_mmap-*.whl")
    with zipfile.ZipFile(path) as wheel:
        packed = {entry for entry in wheel.namelist() if not entry.startswith("hft_mmap-")}
        (described,) = [entry for entry in wheel.namelist() if entry.endswith(".dist-info/METADATA")]
        licences = message_from_bytes(wheel.read(described)).get_all("License-File")
        assert licences == ["LICENSE", "api/static/vendor/uplot-licence.txt"]
        for name in licences:
            kept = wheel.read(f"{described.removesuffix('METADATA')}licenses/{name}")
            assert kept == (ROOT / name).read_bytes()
    expected = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == expected
