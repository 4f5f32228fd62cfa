"""Several processes over one data directory: hft-mmap.service, and hft-mmap@.service for each further core."""

import http.client
import os

from tests.service import PATIENCE_S, ROOT, wait_until
from tests.systemd.clients import load, wait_for_more
from tests.systemd.machine import LOGS, SERVICE, Machine
from tests.systemd.test_service import add, total

SECOND, THIRD = "hft-mmap@2.service", "hft-mmap@3.service"
EXAMPLES = ROOT / "systemd/examples"
DEBUG = "[Service]\nEnvironment=APP_LOG__LEVEL=debug\n"


def scraped(machine: Machine, port: int) -> list[str]:
    """Return the lines that a scrape of `port` gets, or "refused"."""
    answers: list[list[str]] = []

    def scrape() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        try:
            connection.request("GET", "/metrics")
            answers.append(connection.getresponse().read().decode().splitlines())
        except ConnectionRefusedError:
            answers.append(["refused"])
        connection.close()

    machine.in_network(scrape).join(PATIENCE_S)
    return answers[0]


def test_instances_share_the_work_and_the_store(machine: Machine) -> None:
    """All accept from the shared sockets and append to one series; each names itself in its lines and its file."""
    units = (SERVICE, SECOND, THIRD)
    for unit in units:
        machine.drop_in(DEBUG, unit)
    machine.systemctl("start", *units)
    tries = 0

    def all_have_answered() -> bool:
        nonlocal tries
        for _ in range(8):
            tries += 1
            assert add(machine, [1.0]).json()["total"] == tries
        return all(machine.events("request", unit) for unit in units)

    wait_until(all_have_answered, "an answer of each instance")
    assert total(machine) == tries
    assert {event.get("instance") for event in machine.events(unit=SECOND)} == {"2"}
    assert {event.get("instance") for event in machine.events()} == {None}
    assert sorted(path.name for path in (machine.root / LOGS).iterdir()) == ["app-2.log", "app-3.log", "app.log"]


def test_each_further_instance_has_a_port_for_its_metrics(machine: Machine) -> None:
    """127.0.0.1:8082 is hft-mmap@2 alone, and its samples have its name."""
    machine.systemctl("start", SERVICE, SECOND)
    assert 'hft_mmap_ready{instance="2"} 1.0' in scraped(machine, 8082)
    machine.systemctl("stop", SECOND)
    # Its job is another one than that of the service, for which alone systemctl waits. A socket that stayed would have
    # the next scrape start the instance again.
    wait_until(lambda: machine.show("ActiveState", "hft-mmap@2.socket") == "inactive", "its socket to go")


def test_the_first_instance_may_have_a_port_too(machine: Machine) -> None:
    """The examples give it a name and 127.0.0.1:8081; once it was stopped a scrape is refused, and starts nothing."""
    machine.drop_in((EXAMPLES / "first-instance.conf").read_text())
    machine.drop_in((EXAMPLES / "first-instance-socket.conf").read_text(), "hft-mmap@1.socket")
    machine.systemctl("start", SERVICE, SECOND)
    assert 'hft_mmap_ready{instance="1"} 1.0' in scraped(machine, 8081)
    machine.systemctl("restart", SERVICE)
    assert 'hft_mmap_ready{instance="1"} 1.0' in scraped(machine, 8081)
    machine.systemctl("stop", "hft-mmap.socket", SERVICE)
    wait_until(lambda: machine.show("ActiveState", "hft-mmap@1.socket") == "inactive", "its socket to go")
    assert scraped(machine, 8081) == ["refused"]
    for unit in ("hft-mmap.socket", SERVICE, "hft-mmap@1.service"):
        assert machine.show("ActiveState", unit) == "inactive"


def test_an_instance_that_can_not_start_takes_nothing_from_the_others(machine: Machine) -> None:
    """It is tried for ever, where a limit of starts would close the socket that all of them share."""
    failing = "[Service]\nExecStart=\nExecStart=/bin/false\n"
    machine.drop_in(f"{failing}RestartSec=10ms\n", SECOND)  # as often as the limit of the first instance, but sooner
    machine.systemctl("start", SERVICE)
    machine.systemctl("start", SECOND, expect=1)
    wait_until(lambda: int(machine.show("NRestarts", SECOND)) > 40, "more starts than the first instance may have")
    assert machine.show("ActiveState", "hft-mmap.socket") == "active"
    assert (machine.root / "run/hft-mmap/http.sock").is_socket()
    assert add(machine, [1.0]).status_code == 200


def test_a_rolling_restart_fails_no_request(machine: Machine) -> None:
    """One instance after the other, under load: the other one takes the clients over."""
    machine.systemctl("start", SERVICE, SECOND)
    with load(machine) as pushers:
        for unit in (SERVICE, SECOND):
            pid = machine.main_pid(unit)
            machine.systemctl("restart", unit)
            assert machine.main_pid(unit) != pid
            wait_for_more(pushers)
    assert [pusher.lost for pusher in pushers] == [[]] * len(pushers)
    assert total(machine) == sum(pusher.answered for pusher in pushers)


def test_starting_an_instance_does_not_block_the_others(machine: Machine) -> None:
    """The O_NONBLOCK of a shared socket is shared: cleared by a start, it would hang whoever waits in accept().

    The instance here ends before it could set the flag again.
    """
    machine.systemctl("start", SERVICE)
    machine.drop_in("[Service]\nEnvironment=APP_LOG__LEVEL=loud\n", SECOND)
    machine.systemctl("start", SECOND, expect=1)
    for fd in (3, 4):
        lines = (machine.root / f"proc/{machine.main_pid()}/fdinfo/{fd}").read_text().splitlines()
        (flags,) = (int(line.split()[1], 8) for line in lines if line.startswith("flags:"))
        assert flags & os.O_NONBLOCK
    assert add(machine, [1.0]).status_code == 200
