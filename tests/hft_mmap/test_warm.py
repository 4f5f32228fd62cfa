"""The compiled kernels: kept between starts, made anew where what is kept is damaged or of other code, never a failure.

All but the first test run the real `compiled.py` over two small kernels: those of the store take 20 s to compile.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.service import ROOT

COMPILING = "hft-mmap: compiling kernels, about 20 s; once, and then kept"
KERNEL = """
from numba import float64, njit
from hft_mmap.tree.compiled import numba_keeps

@njit(cache=numba_keeps())
def added(value):
    return value + 1.0
"""
CALLER = """
from numba import float64, njit
from hft_mmap.tree.compiled import numba_keeps
from hft_mmap.tree.kernels import added

@njit(float64(float64), cache=numba_keeps())
def doubled(value):
    return 2.0 * added(value)
"""
# One that a second process compiles; each process that imports it notes whether it was compiled before.
BESIDE = """
import sys
from pathlib import Path
from numba import float64, njit
from hft_mmap.tree.compiled import numba_keeps

@njit(float64(float64), cache=numba_keeps())
def halved(value):
    return value / 2.0

is_second = not hasattr(sys.modules["hft_mmap"], "__file__")
with Path(__file__).with_name("notes").open("a") as notes:
    notes.write(f"{'second' if is_second else 'first'} {sum(halved.stats.cache_hits.values())}\\n")
"""
# As root as well, a folder without the right to write is one.
MODES_COUNT = ["setpriv", "--bounding-set=-dac_override", "--"] if os.geteuid() == 0 else []


def test_warming_says_how_long_it_took() -> None:
    """`python -m hft_mmap.warm` compiles what is missing and says so in one line."""
    command = [sys.executable, "-m", "hft_mmap.warm"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"kernels ready in \d+\.\d s\n", done.stdout)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a folder with a package `hft_mmap` that has two small kernels, one of which inlines the other."""
    tree = tmp_path / "hft_mmap" / "tree"
    tree.mkdir(parents=True)
    (tree.parent / "__init__.py").write_text("from hft_mmap.tree.caller import doubled\n")
    for name in ("__init__.py", "compiled.py"):
        shutil.copy(ROOT / "hft_mmap" / "tree" / name, tree)
    (tree / "kernels.py").write_text(KERNEL)
    (tree / "caller.py").write_text(CALLER)
    return tmp_path


CALL = "import hft_mmap; print(hft_mmap.doubled(2.0))"
FORKING = """
import json, os, sys
import numba
numba.njit("float64(float64)")(lambda value: value + 1.0)  # what numba loads once it compiles
for line in sys.stdin:
    variables, path, call = json.loads(line)
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    for number, name in enumerate(("out", "err"), 1):
        os.dup2(os.open(f"{path}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.clear()
    os.environ.update(variables)
    numba.config.reload_config()
    sys.path.insert(0, variables["PYTHONPATH"])
    exec(call)
    break
"""


@pytest.fixture(scope="module")
def forking() -> Iterator["subprocess.Popen[str]"]:
    """Yield a process that has imported numba, and forks a child for each line that it is sent.

    PERF: a process that imports numba and compiles for the first time takes a second of a processor; the tests of this
    file start forty.
    """
    command = [sys.executable, "-P", "-c", FORKING]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


Start = Callable[..., tuple[str, list[str]]]


@pytest.fixture
def start(forking: "subprocess.Popen[str]", tmp_path: Path) -> Start:
    """Return what starts a process that calls a kernel.

    It gives what the kernel gave, and the lines on standard error. It is forked; but with a launcher, with `program`,
    and where numba's settings are others, of which it reads some once, it is a program of its own from the beginning.
    """

    def start_(package: Path, *launcher: str, program: bool = False, **variables: str) -> tuple[str, list[str]]:
        left_out = {"NUMBA_CACHE_DIR", "XDG_CACHE_HOME"}
        inherited = {name: value for name, value in os.environ.items() if name not in left_out}
        environment = inherited | {"HOME": "/dev/null", "PYTHONPATH": str(package)} | variables
        if program or launcher or variables.keys() - {"NUMBA_CACHE_DIR"}:
            command = [*launcher, sys.executable, "-P", "-c", CALL]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            code, out, errors = done.returncode, done.stdout, done.stderr
        else:
            assert forking.stdin is not None
            assert forking.stdout is not None
            path = tmp_path / "forked"
            forking.stdin.write(f"{json.dumps([environment, str(path), CALL])}\n")
            forking.stdin.flush()
            code = int(forking.stdout.readline())
            out, errors = (Path(f"{path}.{name}").read_text() for name in ("out", "err"))
        assert code == 0, errors
        return out.strip(), errors.splitlines()

    return start_


def kept(folder: Path) -> Path:
    """Return the one file of kernels in a folder."""
    (file,) = folder.glob("*.kernels")
    return file


def test_the_first_start_says_that_it_compiles_and_the_next_does_not(start: Start, package: Path) -> None:
    """Whoever waits for 20 s is told why before; what was compiled lies beside the code, in one file."""
    assert start(package, program=True) == ("6.0", [COMPILING])
    kept(package / "hft_mmap/tree/__pycache__")
    assert start(package, program=True) == ("6.0", [])


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="compiles on two processors, and here is one")
@pytest.mark.parametrize(
    ("ending", "notes"),
    [("", ["second 0", "first 1"]), ("if is_second: raise SystemExit(1)", ["second 0", "first 0"])],
    ids=["compiles", "fails"],
)
def test_a_second_processor_compiles_as_well(start: Start, package: Path, ending: str, notes: list[str]) -> None:
    """What it compiled is kept with the rest; where it fails, the first compiles all."""
    folder = package / "hft_mmap/tree"
    (folder / "lines.py").write_text(BESIDE + ending)
    assert start(package) == ("6.0", [COMPILING])
    assert (folder / "notes").read_text().splitlines() == notes
    assert start(package) == ("6.0", [])
    assert (folder / "notes").read_text().splitlines() == [*notes, "first 1"]


def test_damaged_kernels_are_named_and_made_anew(start: Start, package: Path) -> None:
    """A start after a crash or a bad sector does not fail, and loads no machine code that it cannot trust."""
    start(package)
    file = kept(package / "hft_mmap/tree/__pycache__")
    whole = file.read_bytes()
    one_bit = whole[:-400] + bytes([whole[-400] ^ 1]) + whole[-399:]
    for damaged in (b"", whole[: len(whole) // 2], one_bit):
        file.write_bytes(damaged)
        told = f"hft-mmap: the compiled kernels in {file} are damaged; they are made anew"
        assert start(package) == ("6.0", [told, COMPILING])
    assert start(package) == ("6.0", [])


def test_a_kernel_that_another_one_has_inlined_is_compiled_anew(start: Start, package: Path) -> None:
    """After an upgrade of one source no other module may go on with the machine code of the old one.

    Not even where size and times are what they were: Python takes its own bytecode for current then.
    """
    source = package / "hft_mmap/tree/kernels.py"
    os.utime(source, (1e9, 1e9))
    assert start(package) == ("6.0", [COMPILING])
    source.write_text(KERNEL.replace("1.0", "2.0"))
    os.utime(source, (1e9, 1e9))
    assert start(package) == ("8.0", [COMPILING])
    assert start(package) == ("8.0", [])


def test_kernels_are_found_again_through_a_link(start: Start, package: Path, tmp_path: Path) -> None:
    """An installed release is reached through one: what was compiled on such a way is kept, and used."""
    (tmp_path / "link").symlink_to(package)
    assert start(tmp_path / "link") == ("6.0", [COMPILING])
    assert start(tmp_path / "link") == start(package) == ("6.0", [])


def test_kernels_of_other_settings_of_numba_stay_beside(start: Start, package: Path) -> None:
    """As those of another processor do: each finds its own, and neither removes that of the other."""
    for variables in ({}, {"NUMBA_CPU_NAME": "generic"}):
        assert start(package, **variables) == ("6.0", [COMPILING])
    for variables in ({}, {"NUMBA_CPU_NAME": "generic"}):
        assert start(package, **variables) == ("6.0", [])


def test_of_what_changes_often_only_the_newest_kernels_are_kept(start: Start, package: Path, tmp_path: Path) -> None:
    """A folder of kernels does not grow with each release."""
    folder = tmp_path / "cache"
    folder.mkdir()
    for number in range(6):
        old = folder / f"hft-mmap-{number:016}.kernels"
        old.touch()
        os.utime(old, (number, number))
    start(package, NUMBA_CACHE_DIR=str(folder))
    names = {path.name for path in folder.iterdir()}
    assert len(names) == 4
    assert {f"hft-mmap-{number:016}.kernels" for number in (3, 4, 5)} < names


def test_kernels_that_can_only_be_read_are_used(start: Start, package: Path, tmp_path: Path) -> None:
    """An image or a read-only file system starts as fast as any other, and in silence."""
    folder = tmp_path / "cache"
    start(package, NUMBA_CACHE_DIR=str(folder))
    folder.chmod(0o555)
    assert start(package, *MODES_COUNT, NUMBA_CACHE_DIR=str(folder)) == ("6.0", [])
    folder.chmod(0o755)


def test_where_kernels_cannot_be_kept_the_start_says_what_to_set(start: Start, package: Path, tmp_path: Path) -> None:
    """Neither the package nor the home can be written to: it works all the same, and says what would make it fast."""
    # Root may write everywhere; but nobody can make a folder where there is a file.
    (package / "hft_mmap/tree/__pycache__").touch()
    answer, (first, second) = start(package)
    assert (answer, first) == ("6.0", COMPILING)
    assert re.fullmatch(
        r"hft-mmap: the compiled kernels can't be kept \(.*/tree/__pycache__: .*; .*\), so every start compiles them; "
        r"set NUMBA_CACHE_DIR to a folder that can be written to",
        second,
    )
    folder = str(tmp_path / "cache")
    assert start(package, NUMBA_CACHE_DIR=folder) == ("6.0", [COMPILING])
    assert start(package, NUMBA_CACHE_DIR=folder) == ("6.0", [])


def test_where_nothing_can_be_written_it_works_and_says_so(start: Start, package: Path) -> None:
    """A full disk stops no start, whether there are kernels on it or not."""
    start(package)
    answer, lines = start(package, "prlimit", "--fsize=100", "--")
    assert answer == "6.0"
    (line,) = lines
    assert line.endswith("; at every start, for no folder for temporary files has 16 MiB; set TMPDIR to one that has")


def test_without_numba_the_store_says_why_it_does_not_work(tmp_path: Path) -> None:
    """NUMBA_DISABLE_JIT leaves no kernels to work with."""
    code = f"import hft_mmap; hft_mmap.Store({str(tmp_path / 'data')!r})"
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith(
        "StoreUnusable: the store needs its compiled kernels, and NUMBA_DISABLE_JIT is set: unset it\n"
    )
    assert not (tmp_path / "data").exists()
