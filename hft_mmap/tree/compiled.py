"""Load the compiled kernels, or compile and keep them: one file, which is whole and fits this machine, or is not used.

numba keeps a hundred small files, knows a torn one only by an exception, and does not see that a kernel which another
one has inlined was changed. So the files are numba's in a scratch folder only. What is kept between starts is one file
of them all, with a checksum, in the first of these folders that can be written to:

1. `$NUMBA_CACHE_DIR`
2. `__pycache__` beside this module
3. `hft-mmap` in `$XDG_CACHE_HOME`, or in `~/.cache`

Its name is a hash of everything that the machine code depends on: the sources, the versions of Python, numba and LLVM,
the processor, numba's settings. It is written under another name first, so nobody ever reads half of it; a damaged one
is named and made anew; one that can only be read will do; and where none can be kept, the kernels are compiled at every
start, which is said.

The modules are imported from the bytes that gave the file its name, and not from Python's own bytecode: that counts as
current where size and time of the source, in whole seconds, are what they were, as after an upgrade whose package sets
all times alike. What was compiled of it would be kept as that of the new source, for good.
"""

import errno
import hashlib
import io
import logging
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType

import numba
from llvmlite import __version__ as llvmlite_version
from llvmlite import binding

_HERE = Path(__file__).resolve().parent
_MAGIC = b"hft-mmap kernels 1\n"
_DIGEST_BYTES = 32
_SUFFIX = ".kernels"
KEPT_FILES = 4
"""How many files stay in a folder: this one, and those of the newest other releases and processors that share it."""

_log = logging.getLogger("hft_mmap")  # where the program sets up no logging, a warning goes to standard error
_SCRATCH_BYTES = 16 << 20  # of which numba's files take 9 MB, and some of them are there twice for a while

_laid_out = False


def _probe() -> None:
    """Do nothing; where numba would keep this function, it keeps the others of this folder."""


def load() -> None:
    """Import every module that has kernels, from the file if there is a sound one; else compile and keep them.

    Costs 20 s of a processor when it compiles, which is said first, and some milliseconds when it does not.
    """
    sources = _Sources()
    if numba_is_off():  # plain Python, for tools that only need the modules; `Store` refuses to work so
        sources.import_all()
        return
    folders, name = _folders(), _file_name(sources)
    archive, damaged = _read(folders, name)
    with ExitStack() as stack:
        place = _lay_out(stack, archive, folders)
        if place is None:
            _say_compiling("at every start, for no folder for temporary files has 16 MiB; set TMPDIR to one that has")
            sources.import_all()
            return
        before = _listing(place)
        if archive is None:
            _say_compiling("once, and then kept")
            _compile_on_two(sources, place, name)
        sources.import_all()
        if damaged or _listing(place) != before:
            _keep(folders, name, _pack(place))


def numba_is_off() -> bool:
    """Return whether NUMBA_DISABLE_JIT was set, so that there are no compiled kernels."""
    return bool(numba.config.DISABLE_JIT)


def _say_compiling(how: str) -> None:
    _log.warning("hft-mmap: compiling kernels, about 20 s; %s", how)


def _folders() -> list[Path]:
    """Return where the file may lie, the best place first."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    folders = [Path(named)] if named else []
    folders.append(_HERE / "__pycache__")
    home = os.environ.get("XDG_CACHE_HOME")
    with suppress(RuntimeError):  # this user has no home
        folders.append((Path(home) if home else Path.home() / ".cache") / "hft-mmap")
    return folders


def _file_name(sources: "_Sources") -> str:
    """Return the name of the file: it differs wherever the machine code may."""
    digest = hashlib.sha256()
    # Of Python the minor version, as for numba itself: what its machine code relies on stays within one.
    parts = [
        f"{sys.implementation.cache_tag}{sys.abiflags}",
        numba.__version__,
        llvmlite_version,
        binding.get_default_triple(),
    ]
    parts += [binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()]
    parts += [f"{key}={value}" for key, value in sorted(os.environ.items()) if key.startswith("NUMBA_")
              and key != "NUMBA_CACHE_DIR"]  # fmt: skip
    for part in parts:
        digest.update(part.encode(errors="surrogateescape") + b"\0")
    for name, source in sources.read.items():
        digest.update(name.encode() + b"\0" + source + b"\0")
    return f"hft-mmap-{digest.hexdigest()[:16]}{_SUFFIX}"


# -- the sources ------------------------------------------------------------------------------------------------------


class _Sources:
    """The modules of this folder, each read once: what is hashed is what is imported."""

    def __init__(self) -> None:
        self.read = {path.stem: path.read_bytes() for path in sorted(_HERE.glob("*.py"))}

    def import_all(self, names: Iterable[str] | None = None) -> None:
        """Import every module with kernels, or those of `names`; costs 30 ms more than from bytecode."""
        sys.meta_path.insert(0, self)
        try:
            for name in self.read if names is None else names:
                if not name.startswith("_"):
                    import_module(f"{__package__}.{name}")
        finally:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module of this folder; anything else is left to Python."""
        package, _, name = fullname.rpartition(".")
        if package != __package__ or name not in self.read:
            return None
        # By the way on which this module was found, links and all: numba files what it compiles under that path.
        path = str(Path(__file__).with_name(f"{name}.py"))
        return spec_from_loader(fullname, _Loader(fullname, path, self.read[name]))


class _Loader(SourceFileLoader):
    """Load a module from a source that was read before."""

    def __init__(self, fullname: str, path: str, source: bytes) -> None:
        super().__init__(fullname, path)
        self._source = source

    def get_code(self, _fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self._source, self.path)
        return code


# -- compiling on two processors --------------------------------------------------------------------------------------

_BESIDE = ("buckets", "cuts", "lines", "order", "passage", "ticks")
"""What a second process compiles: with the modules that these import, about half of the work."""
_SECOND = """
import sys, types
root, folder, name = sys.argv[1:]
for package, path in ("hft_mmap", root), ("hft_mmap.tree", root + "/tree"):
    sys.modules[package] = types.ModuleType(package)
    sys.modules[package].__path__ = [path]
from hft_mmap.tree.compiled import compile_beside
compile_beside(folder, name)
"""


def _compile_on_two(sources: _Sources, place: Path, name: str) -> None:
    """Import what a second process does not compile meanwhile, and lay what it compiled into `place`.

    Its files are taken whole, once it has ended, and only of kernels that were not compiled here as well. Without a
    second processor, or where it fails, nothing is laid there, and the next import compiles all that is missing.
    """
    beside = [module for module in _BESIDE if module in sources.read]
    is_python = Path(sys.executable or "").name.startswith("python")  # and not a program that has one inside
    if not beside or not is_python or len(os.sched_getaffinity(0)) < 2:  # noqa: PLR2004 - two processors
        return
    with tempfile.TemporaryDirectory(prefix="hft-mmap-", dir=place.parent, ignore_cleanup_errors=True) as folder:
        command = [sys.executable, "-P", "-c", _SECOND, str(_HERE.parent), folder, name]
        try:
            second = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,  # noqa: S603 - Python
                                      stderr=subprocess.DEVNULL)  # fmt: skip
        except OSError:
            return
        with second:
            try:
                sources.import_all(sorted(sources.read.keys() - {*beside}))
            except BaseException:
                second.kill()
                raise
        if second.returncode == 0:
            _take(Path(folder) / place.name, place)


def compile_beside(folder: str, name: str) -> None:
    """Compile `_BESIDE`, as the second process, and have numba keep it in `folder`; nothing if the sources changed."""
    sources = _Sources()
    if _file_name(sources) == name:
        with _keeping_in(folder):
            sources.import_all(module for module in _BESIDE if module in sources.read)


def _take(made: Path, place: Path) -> None:
    """Move the files of numba's from `made` to `place`, but for those of kernels that `place` has."""
    for index in made.glob("*.nbi"):
        if not (place / index.name).exists():
            for data in made.glob(f"{index.stem}.*.nbc"):
                data.rename(place / data.name)
            index.rename(place / index.name)


# -- the file ---------------------------------------------------------------------------------------------------------


def _read(folders: list[Path], name: str) -> tuple[bytes | None, bool]:
    """Return the first sound archive, and whether a damaged one was met on the way, which is said."""
    damaged = False
    for folder in folders:
        try:
            content = (folder / name).read_bytes()
        except OSError:
            continue
        head, archive = content[: len(_MAGIC) + _DIGEST_BYTES], content[len(_MAGIC) + _DIGEST_BYTES :]
        if head == _MAGIC + hashlib.sha256(archive).digest():
            return archive, damaged
        damaged = True
        _log.warning("hft-mmap: the compiled kernels in %s are damaged; they are made anew", folder / name)
    return None, damaged


def _keep(folders: list[Path], name: str, archive: bytes) -> None:
    """Write the file into the first folder that takes it, and remove there what is too old; say if there is none."""
    reasons = []
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(folder, name, _MAGIC + hashlib.sha256(archive).digest() + archive)
        except OSError as error:
            reasons.append(f"{folder}: {error.strerror}")
            continue
        _prune(folder)
        return
    _log.warning(
        "hft-mmap: the compiled kernels can't be kept (%s), so every start compiles them; "
        "set NUMBA_CACHE_DIR to a folder that can be written to",
        "; ".join(reasons),
    )


def _write(folder: Path, name: str, content: bytes) -> None:
    """Write a file whole or not at all; others may read it as they may read the folder."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(content)
            os.fchmod(descriptor, 0o644)
        os.replace(temporary, folder / name)  # noqa: PTH105 - a name that mkstemp gave
    except BaseException:
        os.unlink(temporary)  # noqa: PTH108 - likewise
        raise


def _prune(folder: Path) -> None:
    with suppress(OSError):  # another process removes them as well
        kept = sorted(folder.glob(f"hft-mmap-*{_SUFFIX}"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in kept[KEPT_FILES:]:
            path.unlink()


# -- numba's own files, while the modules are imported ----------------------------------------------------------------


def numba_keeps() -> bool:
    """Return whether numba shall write what it compiles to files: the option `cache` of every kernel."""
    return _laid_out


def _lay_out(stack: ExitStack, archive: bytes | None, folders: list[Path]) -> Path | None:
    """Have numba keep its files in a folder of ours until `stack` ends, and lay those of the archive there.

    Return the folder, or None if there is no space for it anywhere.
    """
    for parent in (None, *folders, Path("/dev/shm")):  # noqa: S108 - of tempfile's making, as all of them
        made = ExitStack()
        with suppress(OSError):
            made.enter_context(_scratch(parent))
            place = Path(numba.njit(cache=True)(_probe).stats.cache_path)
            if archive is not None:
                with zipfile.ZipFile(io.BytesIO(archive)) as files:
                    files.extractall(place)
            stack.push(made.pop_all())
            return place
        made.close()
    return None


@contextmanager
def _scratch(parent: Path | None) -> Iterator[Path]:
    """Yield a folder that numba writes to meanwhile, removed at the end; OSError if there can't be one."""
    with tempfile.TemporaryDirectory(prefix="hft-mmap-", dir=parent, ignore_cleanup_errors=True) as path:
        free = os.statvfs(path)
        if free.f_bavail * free.f_frsize < _SCRATCH_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        with _keeping_in(path):
            yield Path(path)


@contextmanager
def _keeping_in(folder: str) -> Iterator[None]:
    """Have numba keep its files in `folder`."""
    global _laid_out  # noqa: PLW0603 - kernels are decorated at their import, and nothing is passed to an import
    config = numba.config
    before = config.CACHE_DIR, getattr(config, "CACHE_LOCATOR_CLASSES", "")
    config.CACHE_DIR, config.CACHE_LOCATOR_CLASSES = folder, ""
    _laid_out = True
    try:
        yield
    finally:
        config.CACHE_DIR, config.CACHE_LOCATOR_CLASSES = before
        _laid_out = False


def _pack(place: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as files:
        for path in sorted(place.iterdir()):
            files.write(path, path.name)
    return buffer.getvalue()


def _listing(place: Path) -> set[tuple[str, int, int]]:
    """Return the files of a folder, so that a new or changed one shows."""
    return {(entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in os.scandir(place)}
