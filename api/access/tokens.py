"""Bearer tokens: the file that holds their hashes, and the question whose token it is that a client sent.

The file is text, a token a line, made by `hft-mmap token`; `#` begins a comment, a line that is removed is a token that
is revoked:

    # name      scopes       hash
    feed-1      write        sha256:3f0a…  (64 hexadecimal digits)
    dashboard   read         sha256:b94d…
    operator    read,admin   sha256:77c1…
    desk        read:ES.*    sha256:09d2…  (only the symbols that begin with ES., see `api.access.patterns`)

A token is 256 random bits, so its hash needs neither salt nor a slow function: there is nothing to guess. Whoever reads
the file learns no token; whoever may write it can add one, hence the check of its mode.
"""

import fcntl
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from api.access.patterns import MOST_PATTERNS, Patterns
from api.access.secret_files import CredentialsError

READ, WRITE, ADMIN = "read", "write", "admin"
SCOPES = (READ, WRITE, ADMIN)
OPEN = "open"
"""What a route needs that anybody may use; every caller has it."""
ANY = "any"
"""What needs a token, whatever it allows; every token has it."""

MAX_TOKENS = 1000  # a wrong token is compared with each: 0.2 ms at most
_MAX_FILE_BYTES = 2**20
_MAX_VERIFIED = 4096  # of "Bearer X" and "bearer  X", so one token may have several entries
_MAX_TOKEN_BYTES = 128
_PREFIX = "hft_"  # tells people and secret scanners what they have found
_RANDOM_BYTES = 32
# RFC 6750, section 2.1; clients of InfluxDB say Token.
_BEARER = re.compile(rb"(?:bearer|token) +([A-Za-z0-9._~+/=-]+) *", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_FOREIGN_MODE = stat.S_IRWXO | stat.S_IWGRP


class Token:
    """What one line of the file says: whose token it is, what it allows, and its hash."""

    __slots__ = ("digest", "name", "only", "revoked", "scopes")

    def __init__(self, name: str, scopes: Iterable[str], digest: bytes) -> None:
        """`scopes` as they are written, each perhaps with a pattern; ValueError says what is wrong with one."""
        self.name = name
        self.digest = digest
        self.revoked = False
        whole, self.only = _understood(scopes)
        allowed = {*whole, *self.only}
        # Who operates the service may do everything; otherwise no scope includes another.
        self.scopes = frozenset((OPEN, ANY, *SCOPES) if ADMIN in allowed else (OPEN, ANY, *allowed))

    def told(self) -> str:
        """Return the scopes as people write them."""
        return ", ".join(
            text
            for scope in SCOPES
            if scope in self.scopes
            for text in ([f"{scope}:{one}" for one in self.only[scope].texts] if scope in self.only else [scope])
        )

    def may(self, scope: str, symbol: str) -> bool:
        """Say whether it has `scope` for `symbol`."""
        if scope not in self.scopes:
            return False
        only = self.only.get(scope)
        return only is None or only.matches(symbol)

    def same_as(self, other: "Token") -> bool:
        """Return whether both lines say the same."""
        mine = self.name, self.scopes, self.only, self.digest
        return mine == (other.name, other.scopes, other.only, other.digest)


def _understood(scopes: Iterable[str]) -> tuple[set[str], dict[str, Patterns]]:
    """Return the scopes that are for all symbols, and the patterns of those that are not. ValueError."""
    whole: set[str] = set()
    only: dict[str, list[str]] = {}
    for text in scopes:
        scope, colon, pattern = text.partition(":")
        if scope not in SCOPES:
            raise ValueError(f"the scopes must be some of {', '.join(SCOPES)}, with commas and no spaces between")
        if not colon:
            whole.add(scope)
        elif scope == ADMIN:
            raise ValueError("admin is for all symbols, and takes no pattern")
        else:
            only.setdefault(scope, []).append(pattern)
    understood = {scope: Patterns(texts) for scope, texts in only.items()}
    if sum(map(len, only.values())) > MOST_PATTERNS:
        raise ValueError(f"a token has at most {MOST_PATTERNS} patterns of symbols")
    # Who has a scope for all symbols, or may do everything, has it for all.
    return whole, {} if ADMIN in whole else {scope: one for scope, one in understood.items() if scope not in whole}


NOBODY = Token("", (), b"")
"""The caller who sent no token, or one that is not known."""
NOBODY.scopes = frozenset((OPEN,))


class Tokens:
    """The tokens of one file."""

    def __init__(self, path: Path) -> None:
        """Read `path`. Raises CredentialsError if it cannot be used."""
        self.path = path
        self._tokens = read(path)
        self.verified: Mapping[str, dict[bytes, Token]] = {needed: {} for needed in (OPEN, ANY, *SCOPES)}
        """By scope: the Authorization headers that were found to have it, so that a client is looked up, not hashed.

        It weakens nothing. Only headers with a right token are in it; a reload empties it; it is bounded. And its time
        tells nothing about them: the hash of bytes is keyed at random in each process, and bytes are compared only
        where all 64 bits of their hashes agree.
        """

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self._tokens)

    def holders(self, *scopes: str) -> int:
        """Return how many tokens have at least one of these scopes."""
        return sum(not token.scopes.isdisjoint(scopes) for token in self._tokens)

    def reload(self) -> None:
        """Read the file again; a token that is gone or has changed is revoked. Raises CredentialsError, all as before.

        A token whose line is the same stays the same object, so that open streams go on.
        """
        before = {token.name: token for token in self._tokens}
        now = [
            old if (old := before.get(token.name)) is not None and old.same_as(token) else token
            for token in read(self.path)
        ]
        for token in self._tokens:
            token.revoked = token not in now
        self._tokens = now
        for headers in self.verified.values():
            headers.clear()

    def of_header(self, header: bytes, needed: str) -> Token:
        """Return the token that an Authorization header has, or NOBODY; remember it where it has the scope `needed`."""
        match = _BEARER.fullmatch(header)
        token = self.of(match[1]) if match else NOBODY
        if needed in token.scopes and token is not NOBODY:
            headers = self.verified[needed]
            if len(headers) >= _MAX_VERIFIED:
                headers.clear()
            headers[header] = token
        return token

    def of(self, sent: bytes) -> Token:
        """Return the token with this text, or NOBODY; the time it takes does not depend on which one it is."""
        if len(sent) > _MAX_TOKEN_BYTES:
            return NOBODY
        digest = sha256(sent).digest()
        found = NOBODY
        for token in self._tokens:
            if hmac.compare_digest(digest, token.digest):
                found = token
        return found


def read(path: Path) -> list[Token]:
    """Return the tokens of a file. Raises CredentialsError, which names each line that is wrong and repeats none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise CredentialsError(
            f"tokens file {path} cannot be read: {error.strerror}; hft-mmap token makes one"
        ) from error
    with os.fdopen(fd, "rb") as file:
        try:
            text = file.read(_MAX_FILE_BYTES + 1) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
        except OSError as error:
            raise CredentialsError(f"tokens file {path} cannot be read: {error.strerror}") from error
        return _checked(path, fd, text)


def add(path: Path, name: str, scopes: Sequence[str]) -> str:
    """Make a token, append its hash to the file at `path` (made with mode 0600 if missing), and return the token.

    Raises CredentialsError, with the file as it was, if `name` is no name or taken, a scope is none, or the file cannot
    be used.
    """
    if not _NAME.fullmatch(name):
        raise CredentialsError(
            f"a token's name is 1 to 64 letters, digits, dots, hyphens and underscores, the first no sign; not {name!r}"
        )
    try:
        told = Token(name, scopes, b"").told() if ADMIN not in scopes else None
    except ValueError as error:
        raise CredentialsError(f"token {name}: {error}") from None
    if any(set(scope) & set(" \t\r\n,#") or not scope.isprintable() for scope in scopes):
        raise CredentialsError("a pattern of symbols has no space, comma or # in it: write %20, %2C, %23")
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        with os.fdopen(fd, "r+b", buffering=0) as file:
            fcntl.flock(fd, fcntl.LOCK_EX)  # two that add at the same time
            text = file.read(_MAX_FILE_BYTES + 1) or b""
            if name in {token.name for token in _checked(path, fd, text)}:
                raise CredentialsError(f"tokens file {path} has a token {name}; remove its line first, or take another")
            token = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
            digest = sha256(token.encode()).hexdigest()
            allowed = told.replace(", ", ",") if told else ",".join(scope for scope in SCOPES if scope in scopes)
            start = "" if not text or text.endswith(b"\n") else "\n"
            file.write(f"{start}{name} {allowed} sha256:{digest}\n".encode())
            os.fsync(fd)
    except OSError as error:
        raise CredentialsError(f"tokens file {path} cannot be written: {error.strerror}") from error
    return token


def _checked(path: Path, fd: int, text: bytes) -> list[Token]:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise CredentialsError(f"tokens file {path} is not a regular file")
    if status.st_mode & _FOREIGN_MODE:
        mode = stat.S_IMODE(status.st_mode)
        raise CredentialsError(f"tokens file {path} is open to others (mode {mode:04o}): chmod 600 {path}")
    if len(text) > _MAX_FILE_BYTES:
        raise CredentialsError(f"tokens file {path} has more than {_MAX_FILE_BYTES} bytes")
    return _parsed(path, text)


def _parsed(path: Path, text: bytes) -> list[Token]:
    tokens: list[Token] = []
    faults: list[str] = []
    names: set[str] = set()
    digests: set[bytes] = set()
    for number, line in enumerate(text.decode("utf-8", "replace").splitlines(), start=1):
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        fault, token = _line(fields)
        if token is not None and (token.name in names or token.digest in digests):
            fault = f"the {'name' if token.name in names else 'hash'} is that of a line above"
        if fault or token is None:
            faults.append(f"line {number}: {fault}")
            continue
        names.add(token.name)
        digests.add(token.digest)
        tokens.append(token)
    if len(tokens) > MAX_TOKENS:
        faults.append(f"{len(tokens)} tokens; {MAX_TOKENS} are allowed")
    if faults:
        raise CredentialsError(f"tokens file {path}: {'; '.join(faults)}")
    return tokens


def _line(fields: list[str]) -> tuple[str, Token | None]:
    """Return what is wrong with a line, or its token. Never its text: somebody may have put the token itself there."""
    if len(fields) != 3:  # noqa: PLR2004 - name, scopes, hash
        return "must be a name, scopes and a hash, with spaces between", None
    name, scopes, hashed = fields
    if not _NAME.fullmatch(name):
        return "the name may have letters, digits, dots, hyphens and underscores, 64 at most", None
    match = _HASH.fullmatch(hashed)
    try:
        token = Token(name, scopes.split(","), bytes.fromhex(match[1]) if match else b"")
    except ValueError as error:
        return str(error), None
    if match is None:
        return "the hash must be sha256: and 64 hexadecimal digits", None
    return "", token
