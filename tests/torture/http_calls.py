"""Faults at system calls of the real service: every request is answered, and the service serves on."""

import os
import signal
from dataclasses import dataclass, field

import httpx

from hft_mmap import Store
from hft_mmap.testing import assert_close
from tests.service import PATIENCE_S, wait_until
from tests.torture.calls import Trial
from tests.torture.kills import SERVICE_ENVIRONMENT, check_twice, scratch, serving_port
from tests.torture.nursery import Child, Nursery
from tests.torture.stream import FEW_BATCHES, Fault, Setting, Stream, exact_stats, streams
from tests.torture.tracing import traced

STORED, NO_SPACE, UNAVAILABLE = httpx.codes.OK, httpx.codes.INSUFFICIENT_STORAGE, httpx.codes.SERVICE_UNAVAILABLE


@dataclass(slots=True)
class Client:
    """Sends the batches of a stream, one after the other, and keeps what the service answered."""

    stream: Stream
    total: int = 0
    """The newest total that was answered with 200."""
    sent: int = 0
    """The end of the last batch that was sent."""
    refused: list[int] = field(default_factory=list)

    def post(self, http: httpx.Client, batches: int) -> None:
        """Send batches, each with its offset; a batch that is refused comes again."""
        for _ in range(batches):
            k = self.stream.index(self.total)
            body = {"symbol": self.stream.symbol, "values": self.stream.batch(k).tolist(), "offset": self.total}
            self.sent = max(self.sent, self.stream.bounds[k + 1])
            answer = http.post("/add_batch/", json=body)
            if answer.status_code == STORED:
                self.total = int(answer.json()["total"])
            elif answer.status_code in {NO_SPACE, UNAVAILABLE} and answer.json()["error"]:
                self.refused.append(answer.status_code)
            else:
                raise Fault(f"a batch was answered {answer.status_code}: {answer.text}")
            self.read(http)

    def read(self, http: httpx.Client) -> None:
        """Check that reads go on, with exact answers about what was sent."""
        answer = http.get("/stats/", params={"symbol": self.stream.symbol})
        if answer.status_code != STORED:
            raise Fault(f"a query was answered {answer.status_code}: {answer.text}")
        found = answer.json()
        total, start = found["total"], found["total"] - found["count"]
        self.stream.index(total)
        if not self.total <= total <= self.sent:
            raise Fault(f"{total} points, {self.total} were acknowledged and {self.sent} sent")
        kept = self.stream.points(start, total)
        for exponent, fields in found["windows"].items():
            exact = exact_stats(kept, 10 ** int(exponent))
            assert_close(exact._replace(**fields), exact)


def service_environment(setting: Setting) -> dict[str, str]:
    """Return the variables with which the service opens a store as `setting` says."""
    return SERVICE_ENVIRONMENT | {
        "APP_STORE__DURABILITY": setting.durability,
        "APP_STORE__MAX_DATA_RETENTION": str(setting.max_data_retention),
        "APP_STORE__CLEANUP_KEEP_COUNT": str(setting.cleanup_keep_count),
    }


def service_under_fault(nursery: Nursery, trial: Trial, first: int) -> Client:
    """Let a call of the service fail from its `first` use on, then no more; return the client, once all is stored.

    A service whose disk failed is restarted when the disk is well again, as the documents say.
    """
    setting = trial.session.setting
    all_streams = streams(setting, FEW_BATCHES)
    client = Client(all_streams[0])
    with scratch() as place:
        with Store(place / "data", limits=setting.limits) as store:
            client.total = client.sent = store.append(client.stream.symbol, client.stream.batch(0))
        environment = service_environment(setting)
        child = nursery.spawn("service", directory=str(place), settings=environment)
        inject = f"inject={trial.call}:{trial.fault}:when={first}+"
        with traced(child, place / "trace", "-e", f"trace={trial.call}", "-e", inject) as strace:
            with httpx.Client(base_url=f"http://127.0.0.1:{serving_port(child)}", timeout=PATIENCE_S) as http:
                client.post(http, 10)
                if "(INJECTED)" not in (place / "trace").read_text():
                    raise Fault("nothing failed")
                strace.terminate()
                strace.wait(PATIENCE_S)
                reasons = http.get("/ready").json().get("reasons", [])
                if not any(reason["code"] == "read_only" for reason in reasons):
                    _goes_on(client, http)
            _stop(child)
        child = nursery.spawn("service", directory=str(place), settings=environment)
        child.start()
        with httpx.Client(base_url=f"http://127.0.0.1:{serving_port(child)}", timeout=PATIENCE_S) as http:
            _goes_on(client, http)
        _stop(child)
        bounds = (client.total,), (client.sent,)
        check_twice(place / "data", setting, all_streams, bounds, writable=True)
    return client


def _goes_on(client: Client, http: httpx.Client) -> None:
    """Check that batches are stored again, and that the service says that it is ready."""
    before = len(client.refused)
    client.post(http, 4)
    if client.refused[before:]:
        raise Fault(f"the disk is well again, and batches are still refused: {client.refused[before:]}")
    wait_until(lambda: http.get("/ready").status_code == STORED, "a service that is ready")


def _stop(child: Child) -> None:
    """Stop the service in order."""
    os.kill(child.pid, signal.SIGTERM)
    if code := child.wait():
        raise Fault(f"the service ended with exit code {code}: {child.lines()[-3:]}")
