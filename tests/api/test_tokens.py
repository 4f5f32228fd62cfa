"""Tokens: the file of hashes, the command that adds to it, and what is read back."""

import hashlib
import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from api.access.secret_files import CredentialsError, resolve
from api.access.tokens import ADMIN, MAX_TOKENS, NOBODY, READ, SCOPES, WRITE, Tokens, add, read
from api.cli.command import main

TOKEN = re.compile(r"hft_[A-Za-z0-9_-]{43}")
HASH = "sha256:" + "0" * 64


@pytest.fixture(autouse=True)
def _empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a working directory of its own, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("APP_")]:
        monkeypatch.delenv(name)


def hft_mmap(*args: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, args)


def write(text: str, mode: int = 0o600) -> Path:
    """Write a tokens file."""
    path = Path("tokens")
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def refusal(path: Path) -> str:
    """Return why a tokens file is refused."""
    with pytest.raises(CredentialsError) as caught:
        read(path)
    return str(caught.value)


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_prints_the_token_once_and_keeps_its_hash() -> None:
    """The token alone is on standard output; the file has its hash, and is for its owner only."""
    result = hft_mmap("token", "feed-1", "--scope", "write", "--scope", "read", "--file", "tokens")
    token = result.stdout.rstrip("\n")
    assert (result.exit_code, bool(TOKEN.fullmatch(token))) == (0, True)
    assert result.stderr == "hft-mmap: tokens has its hash; the token itself is not shown again\n"
    path = Path("tokens")
    assert path.read_text() == f"feed-1 read,write sha256:{hashlib.sha256(token.encode()).hexdigest()}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert Tokens(path).of(token.encode()).name == "feed-1"


def test_the_command_takes_the_file_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auth.tokens_file` is where the service looks, so a token without --file goes there, behind those it has."""
    monkeypatch.setenv("APP_AUTH__TOKENS_FILE", "mine")
    write("# ours\nold read " + HASH).rename("mine")  # no newline at its end
    made = json.loads(hft_mmap("token", "new", "--scope", "admin", "--json").stdout)
    assert made == {"name": "new", "scopes": ["admin"], "file": "mine", "token": made["token"]}
    assert [token.name for token in read(Path("mine"))] == ["old", "new"]
    assert Path("mine").read_text().startswith("# ours\n")


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["old"], "tokens file tokens has a token old; remove its line first, or take another"),
        (["a b"], "a token's name is 1 to 64 letters, digits, dots, hyphens and underscores, the first no sign; not "),
        (["-x"], None),
        (["x" * 65], "a token's name is 1 to 64 letters"),
        (["new", "--file", "nowhere/tokens"], "tokens file nowhere/tokens cannot be written: No such file"),
        (["new", "--file", "."], "tokens file . cannot be written: Is a directory"),
        (["new", "--file", "/dev/null"], "tokens file /dev/null is not a regular file"),
    ],
)
def test_the_command_refuses_and_changes_nothing(args: list[str], text: str | None) -> None:
    """One line says why, and the file stays as it was."""
    path = write(f"old read {HASH}\n")
    result = hft_mmap("token", "--scope", "read", "--file", "tokens", *args)
    assert result.exit_code == (2 if text is None else 1)
    assert result.stdout == ""
    assert text is None or result.stderr.startswith(f"hft-mmap: {text}")
    assert path.read_text() == f"old read {HASH}\n"


def test_the_command_needs_a_file_and_a_scope() -> None:
    """Neither has a default that would be right."""
    assert hft_mmap("token", "x", "--scope", "read").stderr == (
        "hft-mmap: auth.tokens_file is not set, so name the file: --file tokens\n"
    )
    assert hft_mmap("token", "x", "--file", "tokens").exit_code == 2
    assert hft_mmap("token", "x", "--scope", "all", "--file", "tokens").exit_code == 2
    assert not Path("tokens").exists()


def test_the_credentials_directory_is_that_of_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings can name a credential before anybody knows where systemd puts it; outside of systemd that is said."""
    path = "${CREDENTIALS_DIRECTORY}/tokens"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(CredentialsError, match=r"auth\.tokens_file is \$\{.* but CREDENTIALS_DIRECTORY is not set"):
        resolve(path, "auth.tokens_file")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
    assert resolve(path, "auth.tokens_file") == Path("/run/credentials/x/tokens")
    assert resolve("tokens", "auth.tokens_file") == Path("tokens")


# -- the file ---------------------------------------------------------------------------------------------------------


def test_a_file_may_have_comments_and_blank_lines() -> None:
    """And be edited by hand; an empty one has no tokens, which lets nobody in."""
    tokens = read(write(f"# header\n\n  a  read,write  {HASH}  # of the feed\n"))
    assert [(token.name, token.told()) for token in tokens] == [("a", "read, write")]
    assert read(write("")) == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("hft_secret", "must be a name, scopes and a hash, with spaces between"),
        (f"a read write {HASH}", "must be a name, scopes and a hash, with spaces between"),
        (f"a/b read {HASH}", "the name may have letters, digits, dots, hyphens and underscores, 64 at most"),
        (f"hft_secret# read {HASH}", "must be a name, scopes and a hash, with spaces between"),
        (f"a reed {HASH}", "the scopes must be some of read, write, admin, with commas and no spaces between"),
        (f"a read, {HASH}", "the scopes must be some of read, write, admin, with commas and no spaces between"),
        ("a read hft_secret", "the hash must be sha256: and 64 hexadecimal digits"),
        (f"a read {HASH[:-1]}", "the hash must be sha256: and 64 hexadecimal digits"),
        (f"first read {HASH[:-1]}1", "the name is that of a line above"),
        (f"a read {HASH}", "the hash is that of a line above"),
    ],
)
def test_a_bad_line_is_named_and_not_repeated(line: str, fault: str) -> None:
    """Somebody may have put the token itself into the file, so no fault ever shows what stands there."""
    path = write(f"first read {HASH}\n{line}\n")
    assert refusal(path) == f"tokens file tokens: line 2: {fault}"


def test_all_bad_lines_are_named() -> None:
    """At once, so that nobody has to try as often as there are mistakes."""
    assert refusal(write("x\n\ny\n")).count("line ") == 2


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o660, 0o620, 0o777])
def test_a_file_open_to_others_is_refused(mode: int) -> None:
    """Who may write it can let himself in. A group may read it, which is how a service's user gets at root's file."""
    path = write(f"a read {HASH}\n", mode)
    assert refusal(path) == f"tokens file tokens is open to others (mode {mode:04o}): chmod 600 tokens"
    path.chmod(0o640)
    assert len(read(path)) == 1


def test_files_that_are_none() -> None:
    """Missing, a directory, a device, and one that is too large or has too many tokens."""
    assert refusal(Path("no")) == "tokens file no cannot be read: No such file or directory; hft-mmap token makes one"
    assert refusal(Path("/dev/null")) == "tokens file /dev/null is not a regular file"
    os.mkfifo("pipe")
    assert refusal(Path("pipe")) == "tokens file pipe is not a regular file"
    assert refusal(write("#" * 2**20 + "\n")) == "tokens file tokens has more than 1048576 bytes"
    many = "".join(f"t{number} read sha256:{number:064x}\n" for number in range(MAX_TOKENS + 1))
    assert refusal(write(many)) == "tokens file tokens: 1001 tokens; 1000 are allowed"


# -- the question -----------------------------------------------------------------------------------------------------


def test_a_token_is_found_by_its_text_only() -> None:
    """Each token is its own; a prefix, another case, its hash, nothing at all are nobody's."""
    path = Path("tokens")
    sent = {name: add(path, name, [READ]) for name in ("a", "b", "c")}
    tokens = Tokens(path)
    assert {name: tokens.of(token.encode()).name for name, token in sent.items()} == {"a": "a", "b": "b", "c": "c"}
    token = sent["b"]
    digest = hashlib.sha256(token.encode()).hexdigest()
    for wrong in ("", token[:-1], token + "A", token.swapcase(), digest, f"sha256:{digest}", "x" * 1_000_000):
        assert tokens.of(wrong.encode()) is NOBODY


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER   {} "])
def test_the_header_is_that_of_rfc_6750(form: str) -> None:
    """The scheme in any case, as for every scheme of HTTP."""
    path = Path("tokens")
    token = add(path, "a", [READ])
    assert Tokens(path).of_header(form.format(token).encode(), READ).name == "a"


@pytest.mark.parametrize("form", ["{}", "Bearer{}", "Basic {}", "Bearer {},{}", "Bearer {} x", "Bearer\t{}", "Bearer "])
def test_other_headers_are_nobody(form: str) -> None:
    """A token that is not sent as one counts for nothing."""
    path = Path("tokens")
    token = add(path, "a", [READ])
    assert Tokens(path).of_header(form.format(token, token).encode(), READ) is NOBODY


def test_scopes_stand_for_themselves_and_admin_for_all() -> None:
    """Who writes may not read: a feed handler on somebody else's machine learns nothing."""
    path = Path("tokens")
    sent = {scope: add(path, scope, [scope]) for scope in SCOPES}
    tokens = Tokens(path)
    allowed = {
        scope: {other for other in SCOPES if other in tokens.of(sent[scope].encode()).scopes} for scope in SCOPES
    }
    assert allowed == {READ: {READ}, WRITE: {WRITE}, ADMIN: set(SCOPES)}


def test_headers_are_remembered_where_they_are_enough_and_not_without_bound() -> None:
    """What is remembered is what was verified, for the scope that was asked; wrong ones leave nothing behind."""
    path = Path("tokens")
    token = add(path, "a", [READ])
    tokens = Tokens(path)
    for number in range(5000):
        assert tokens.of_header(b"Bearer %s" % (b" " * number + token.encode()), READ).name == "a"
        tokens.of_header(b"Bearer x%d" % number, READ)
    assert 0 < len(tokens.verified[READ]) <= 4096
    assert all(header.endswith(token.encode()) for header in tokens.verified[READ])
    tokens.of_header(b"Bearer " + token.encode(), WRITE)
    assert not tokens.verified[WRITE]


def test_a_reload_revokes_what_is_gone_and_keeps_the_rest() -> None:
    """A token whose line is the same is the same; one that lost a scope is another, and the old one is revoked."""
    path = Path("tokens")
    sent = {name: add(path, name, [READ, WRITE]) for name in ("same", "less", "gone")}
    tokens = Tokens(path)
    before = {name: tokens.of_header(b"Bearer " + token.encode(), READ) for name, token in sent.items()}
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1].replace("read,write", "read")]))
    tokens.reload()
    assert not tokens.verified[READ]
    after = {name: tokens.of(token.encode()) for name, token in sent.items()}
    assert after["same"] is before["same"]
    assert [before[name].revoked for name in before] == [False, True, True]
    assert (WRITE in after["less"].scopes, after["gone"]) == (False, NOBODY)


def test_a_reload_of_a_bad_file_changes_nothing() -> None:
    """The old tokens go on."""
    path = Path("tokens")
    token = add(path, "a", [READ])
    tokens = Tokens(path)
    path.write_text("broken\n")
    with pytest.raises(CredentialsError, match="line 1"):
        tokens.reload()
    assert tokens.of(token.encode()).name == "a"
    assert not tokens.of(token.encode()).revoked
