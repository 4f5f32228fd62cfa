"""hft-mmap.service under a real systemd: started, stopped, killed, hung, full, restarted under load."""

import http.client
import json
import resource
import socket
import stat
from contextlib import ExitStack
from pathlib import Path

import httpx

from hft_mmap.files.blocks import Commit
from hft_mmap.files.head import Head
from tests.api.test_lifecycle import PRICES, STATISTICS, batch
from tests.service import PATIENCE_S, wait_until
from tests.systemd.clients import load, wait_for_more
from tests.systemd.machine import DATA, LOGS, SERVICE, Machine

PROBE = Path(__file__).parent / "probe.py"


def add(machine: Machine, values: list[float]) -> httpx.Response:
    """Append a batch."""
    with machine.client() as client:
        return client.post("/add_batch/", json={"symbol": "ABC-USD", "values": values})


def statistics(machine: Machine) -> object:
    """Return the answer of GET /stats/ for the newest ten points."""
    with machine.client() as client:
        return client.get("/stats/", params={"symbol": "ABC-USD", "exponent": 1}).json()


def total(machine: Machine) -> int:
    """Return how many points are stored."""
    with machine.client() as client:
        return int(client.get("/symbols").json()["symbols"][0]["total"])


def newest_commit(machine: Machine) -> Commit:
    """Return the newest commit slot of the series."""
    head = Head(machine.root / DATA / "ABC-USD", writable=False)
    commit = head.commits()[0]
    head.close()
    return commit


def restarts(machine: Machine) -> int:
    """Return how often systemd has started the service again by itself."""
    return int(machine.show("NRestarts"))


def test_start_returns_once_requests_are_answered(machine: Machine) -> None:
    """Type=notify: at the end of `systemctl start` the service serves, on both sockets, and says so in its status."""
    machine.systemctl("start", SERVICE)
    assert machine.show("StatusText") == "serving on 127.0.0.1:8080, /run/hft-mmap/http.sock"
    (serving,) = machine.events("serving")
    assert serving["passed_by_systemd"] is True
    answers: list[bytes] = []

    def ask() -> None:
        with socket.create_connection(("127.0.0.1", 8080), timeout=PATIENCE_S) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answers.append(connection.recv(4096))

    machine.in_network(ask).join(PATIENCE_S)
    assert answers[0].endswith(b'{"status":"ok"}')
    with machine.client() as client:
        assert client.get("/ready").json() == {"status": "ready"}
    machine.run("sh", "-c", 'test "$(stat -c "%a %G" /run/hft-mmap/http.sock)" = "660 hft-mmap"')


def test_a_connection_starts_the_service(machine: Machine) -> None:
    """Socket activation: the first client waits for the start, and is answered."""
    machine.systemctl("start", "hft-mmap.socket")
    assert machine.main_pid() == 0
    assert add(machine, PRICES).json()["total"] == len(PRICES)


def test_stop_waits_for_the_request_in_flight(machine: Machine) -> None:
    """`systemctl stop` returns after the answer; the exit code is 0 and the commit clean; the data is there again."""
    machine.systemctl("start", SERVICE)
    body = batch("ABC-USD", PRICES)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(machine.root / "run/hft-mmap/http.sock"))
        connection.sendall(
            b"POST /add_batch/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 100 ")
        with machine.start("systemctl", "stop", "hft-mmap.socket", SERVICE) as stop:
            wait_until(lambda: machine.events("stopping"), "the signal")
            assert machine.show("StatusText") == "answering the requests in flight"
            connection.sendall(body)
            response = http.client.HTTPResponse(connection)
            response.begin()
            assert (response.status, json.loads(response.read())["total"]) == (200, len(PRICES))
            assert stop.wait(PATIENCE_S) == 0
    assert (machine.show("Result"), machine.show("ExecMainStatus")) == ("success", "0")
    assert newest_commit(machine).clean
    machine.systemctl("start", SERVICE)
    assert statistics(machine) == STATISTICS


def test_killed_it_is_started_again_and_has_lost_nothing(machine: Machine) -> None:
    """`kill -9`: systemd starts it again by itself, after 100 ms, and what was answered is there."""
    machine.systemctl("start", SERVICE)
    assert add(machine, PRICES).status_code == 200
    machine.systemctl("kill", "--signal=KILL", SERVICE)
    wait_until(lambda: restarts(machine) == 1, "the restart")
    assert statistics(machine) == STATISTICS  # waits in the socket's queue until it serves
    assert machine.show("RestartUSec") == "100ms"
    (recovery,) = machine.events("recovery")
    assert recovery["symbol"] == "ABC-USD"


WATCHED = "[Service]\nWatchdogSec=1\nTimeoutAbortSec=1\n"


def test_a_process_that_is_stopped_is_killed_by_the_watchdog(machine: Machine) -> None:
    """One that does not even take SIGABRT is killed, and started again."""
    machine.drop_in(WATCHED)
    machine.systemctl("start", SERVICE)
    assert add(machine, PRICES).status_code == 200
    machine.systemctl("kill", "--signal=STOP", SERVICE)
    wait_until(lambda: restarts(machine) == 1, "the restart")
    assert statistics(machine) == STATISTICS
    assert "Watchdog timeout" in machine.messages()


def test_an_event_loop_that_hangs_is_killed_by_the_watchdog(machine: Machine) -> None:
    """It is started again with all that it held, and what it was doing is in the journal; here a signal stops it."""
    machine.drop_in(WATCHED)
    machine.systemctl("start", SERVICE)
    assert add(machine, PRICES).status_code == 200
    machine.systemctl("kill", "--signal=STOP", SERVICE)
    wait_until(lambda: restarts(machine) == 1, "the restart")
    assert statistics(machine) == STATISTICS
    assert "Fatal Python error: Aborted" in machine.messages()


def test_wrong_settings_are_not_tried_again(machine: Machine) -> None:
    """Exit code 78: the start fails, with every fault in the journal, and stays failed."""
    machine.drop_in("[Service]\nEnvironment=APP_LOG__LEVEL=loud\n")
    machine.systemctl("start", SERVICE, expect=1)
    assert (machine.show("ActiveState"), machine.show("ExecMainStatus")) == ("failed", "78")
    assert restarts(machine) == 0
    assert "hft-mmap: APP_LOG__LEVEL must be one of debug, info, warning, error, not 'loud'" in machine.messages()


def test_what_the_service_could_write_is_no_setting(machine: Machine) -> None:
    """A `.env` and a config.toml in the state directory change nothing: the settings are those of /etc/hft-mmap."""
    state = machine.root / DATA.parent
    (state / ".env").write_text("APP_LOG__LEVEL=loud\n")
    (state / "config.toml").write_text("no settings\n")
    machine.systemctl("start", SERVICE)
    assert machine.show("ActiveState") == "active"


def test_load_over_three_restarts_loses_no_request(machine: Machine) -> None:
    """Behind the socket clients wait while the service is away; each request has its answer, and no point is lost."""
    machine.systemctl("start", SERVICE)
    with load(machine) as pushers:
        for _ in range(3):
            machine.systemctl("restart", SERVICE)
            wait_for_more(pushers)
    assert [pusher.lost for pusher in pushers] == [[]] * len(pushers)
    assert total(machine) == sum(pusher.answered for pusher in pushers)
    assert len(machine.events("serving")) == 4


def test_sigterm_under_load_ends_clean(machine: Machine) -> None:
    """Every request is answered; the exit code is 0, so systemd does not start it again: the next client does."""
    machine.systemctl("start", SERVICE)
    pid = machine.main_pid()
    with load(machine) as pushers:
        machine.systemctl("kill", "--signal=TERM", "--kill-who=main", SERVICE)
        wait_until(lambda: machine.main_pid() not in {0, pid}, "the process that the next client starts")
    assert [pusher.lost for pusher in pushers] == [[]] * len(pushers)
    assert restarts(machine) == 0
    assert "Deactivated successfully" in machine.messages()
    assert len(machine.events("stopped")) == 1
    assert not machine.events("recovery")  # the flag was clean
    assert total(machine) == sum(pusher.answered for pusher in pushers)


def test_the_sandbox_holds(machine: Machine) -> None:
    """It writes into its own directories and nowhere else, sees no home, and gets no namespaces and no network."""
    home = machine.root / "home/tester"
    home.mkdir(parents=True, exist_ok=True)
    (home / "secret").write_text("x")
    (machine.root / "usr/local/probe.py").write_text(PROBE.read_text())
    result = "/var/lib/hft-mmap/probe.json"
    machine.drop_in(f"[Service]\nExecStartPre=/usr/bin/python3 /usr/local/probe.py {result}\n")
    machine.systemctl("start", SERVICE)
    assert json.loads((machine.root / result.lstrip("/")).read_text()) == {
        "write its own directories": "",
        "write /etc/hft-mmap": "EROFS",
        "write /opt/hft-mmap/current": "EROFS",
        "write /var/lib": "EROFS",
        "write /run": "EACCES",
        "list /root": "EACCES",
        "see what is in /home": "EACCES",
        "new network namespace": "EPERM",
        "new user namespace": "EPERM",
        "new mount namespace": "EPERM",
        "mount": "EPERM",
        "trace": "EPERM",
        "connect": "EAFNOSUPPORT",
        "raise its priority": "EPERM",
        "become root": "EPERM",
        "see pid 1": "ENOENT",
        "read the boot id": "",
        "open a disk": "ENOENT",
    }


def test_the_limits_of_the_units_hold(machine: Machine) -> None:
    """Memory, tasks and open files are bounded as the unit says; many connections and batches stay far below."""
    machine.systemctl("start", SERVICE)
    assert int(machine.show("MemoryMax")) == 4 << 30
    assert int(machine.show("TasksMax")) == 64
    proc = machine.root / f"proc/{machine.main_pid()}"
    limits = [line for line in (proc / "limits").read_text().splitlines() if line.startswith("Max open files")]
    possible = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # a container may not go beyond what it was given
    assert limits[0].split()[4] == str(min(possible, 65_536))
    group = machine.root / "sys/fs/cgroup" / machine.show("ControlGroup").lstrip("/")
    for file, value in (("memory.max", 4 << 30), ("pids.max", 64)):
        if (group / file).exists():  # where this machine has that controller to give to groups
            assert int((group / file).read_text()) == value
    with ExitStack() as stack:
        clients = [stack.enter_context(machine.client()) for _ in range(64)]
        for number, client in enumerate(clients):
            batch = {"symbol": f"S{number % 8}", "values": [1.0] * 10_000}
            assert client.post("/add_batch", json=batch).status_code == 200
            assert client.get("/metrics").status_code == 200
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        assert int(status["Threads"]) < 64
        assert int(status["RssAnon"].split()[0]) << 10 < 1 << 30
        assert len(list((proc / "fd").iterdir())) < 500


def test_a_full_state_directory_refuses_batches_until_there_is_space(machine: Machine) -> None:
    """507, nothing stored, reads go on, and writes resume without a restart."""
    machine.drop_in("[Service]\nEnvironment=APP_STORE__STARTING_CAPACITY=4096\n")
    data = machine.root / DATA
    machine.run("sh", "-c", f"mkdir -p /{DATA} && mount -t tmpfs -o size=4M,uid=hft-mmap tmpfs /{DATA}")
    machine.systemctl("start", SERVICE)
    assert add(machine, PRICES).status_code == 200
    pid = machine.main_pid()
    filler = data / "filler"
    machine.run("dd", "if=/dev/zero", f"of=/{DATA}/filler", "bs=4096", expect=1)  # until nothing is left
    many = [1.0] * 90_000
    refused = add(machine, many)
    assert (refused.status_code, refused.headers["content-type"]) == (507, "application/problem+json")
    assert statistics(machine) == STATISTICS
    with machine.client() as client:
        assert client.get("/ready").status_code == 503
    filler.unlink()
    assert add(machine, many).json()["total"] == len(PRICES) + len(many)
    assert machine.main_pid() == pid


def test_log_lines_reach_the_journal_and_the_file(machine: Machine) -> None:
    """As JSON, the same in both; the group may read the file."""
    machine.systemctl("start", SERVICE)
    with machine.client() as client:
        client.get("/stats/", params={"symbol": "XYZ", "exponent": 1})
    machine.systemctl("stop", "hft-mmap.socket", SERVICE)
    file = machine.root / LOGS / "app.log"
    written = [json.loads(line) for line in file.read_text().splitlines()]
    assert machine.events() == written
    assert {"serving", "request", "stopping", "stopped"} <= {event["event"] for event in written}
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_the_group_may_read_the_data(machine: Machine) -> None:
    """Other programs read the files themselves; nobody else does."""
    machine.systemctl("start", SERVICE)
    assert add(machine, PRICES).status_code == 200
    series = machine.root / DATA / "ABC-USD"
    assert {stat.S_IMODE(path.stat().st_mode) for path in series.iterdir()} == {0o640}
    assert stat.S_IMODE((machine.root / DATA.parent).stat().st_mode) == 0o750
    shown = machine.systemctl("show", SERVICE, "--property=User,Group")
    assert shown.split() == ["User=hft-mmap", "Group=hft-mmap"]
    assert series.stat().st_uid == (machine.root / DATA.parent).stat().st_uid != 0
