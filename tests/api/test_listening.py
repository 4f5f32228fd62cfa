"""Where the service listens of its own accord: TCP, and a Unix socket that the settings name."""

import socket
import stat
from pathlib import Path

from tests.api.test_systemd import over
from tests.conftest import StartService
from tests.service import run_command

IN_USE = "Address already in use; set server.unix_socket (APP_SERVER__UNIX_SOCKET)"


def test_it_listens_on_a_unix_socket_as_well(start_service: StartService, tmp_path: Path) -> None:
    """The owner and the group may connect; the file goes with the service."""
    path = tmp_path / "http.sock"
    service = start_service(server__unix_socket=path)
    assert service.wait_for_event("serving")["addresses"] == [f"127.0.0.1:{service.port}", str(path)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    with over(path) as local:
        answer = local.post("/add_batch/", json={"symbol": "ABC-USD", "values": [1.0]})
        assert answer.json()["total"] == 1
    assert service.stop() == 0
    assert not path.exists()


def test_the_unix_socket_of_a_killed_service_is_replaced(start_service: StartService, tmp_path: Path) -> None:
    """Nobody has to remove it by hand."""
    start_service(server__unix_socket="http.sock").kill()
    assert (tmp_path / "http.sock").exists()
    start_service(server__unix_socket="http.sock")
    with over(tmp_path / "http.sock") as local:
        assert local.get("/health").json() == {"status": "ok"}


def test_a_unix_socket_in_use_is_not_taken_over(start_service: StartService, tmp_path: Path) -> None:
    """The second service exits with 1 and leaves the first one's socket in place."""
    path = tmp_path / "http.sock"
    start_service(server__unix_socket=path)
    second = tmp_path / "second"
    second.mkdir()
    result = run_command(second, "serve", server__port=0, server__unix_socket=path)
    assert (result.returncode, result.stderr) == (
        1,
        f"hft-mmap: cannot listen on {path}: {IN_USE}\n",
    )
    with over(path) as local:
        assert local.get("/health").json() == {"status": "ok"}


def test_a_file_that_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    """A slip in the settings must not cost anybody a file."""
    (tmp_path / "prices.csv").write_text("1.0\n")
    result = run_command(tmp_path, "serve", server__port=0, server__unix_socket="prices.csv")
    assert (result.returncode, result.stderr) == (
        1,
        f"hft-mmap: cannot listen on prices.csv: {IN_USE}\n",
    )
    assert (tmp_path / "prices.csv").read_text() == "1.0\n"


def test_a_unix_socket_that_was_replaced_meanwhile_is_left(start_service: StartService, tmp_path: Path) -> None:
    """What stands under the name at the end may belong to somebody else."""
    path = tmp_path / "http.sock"
    service = start_service(server__unix_socket=path)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        assert service.stop() == 0
        assert path.exists()
