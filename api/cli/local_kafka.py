"""Brokers of Kafka on this machine: three that are controllers too (KRaft), their settings and their commands.

Their jars are those of Maven Central, as `make` fetches them, or the folder `libs` of a release of Kafka.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

JARS_VARIABLE = "HFT_MMAP_KAFKA_JARS"
JARS = Path(os.environ.get(JARS_VARIABLE) or Path(__file__).resolve().parents[2] / ".kafka")
"""Where the jars are: a folder that is named by the variable, or that of `make` in a checkout."""
CONFIGURATION_NAME = "server.properties"
_ID = "aGZ0LW1tYXAtY2x1c3RlcQ"
_HOST = "127.0.0.1"
_CONFIGURATION = """\
process.roles=broker,controller
node.id={number}
controller.quorum.voters={voters}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs=data
auto.create.topics.enable=false
offsets.topic.num.partitions=1
message.max.bytes=2097152
replica.fetch.max.bytes=2097152
"""


def missing() -> list[str]:
    """Return what brokers need and this machine lacks."""
    found = []
    if shutil.which("java") is None:
        found.append("the program java is missing: install a Java of release 17 or newer")
    if not list(JARS.glob("kafka_*.jar")):
        found.append(
            f"the jars of Kafka are missing in {JARS}: make .kafka/complete fetches them, or {JARS_VARIABLE} names the "
            "folder libs of a release"
        )
    return found


def configuration(number: int, ports: Sequence[int], controllers: Sequence[int]) -> str:
    """Return the settings of one of the brokers at `ports`, counted from 1."""
    voters = ",".join(f"{k}@{_HOST}:{port}" for k, port in enumerate(controllers, 1))
    return _CONFIGURATION.format(
        number=number, voters=voters, host=_HOST, port=ports[number - 1], controller=controllers[number - 1]
    )


def command(*, heap_mib: int = 384) -> tuple[str, ...]:
    """Return the command that starts a broker, in a folder with its settings."""
    return (*_java(heap_mib), "kafka.Kafka", CONFIGURATION_NAME)


def _java(heap_mib: int) -> tuple[str, ...]:
    # NOTE: a broker that lives for minutes spends most of its time compiling: it is compiled quickly, and not well.
    return (
        str(shutil.which("java")), f"-Xmx{heap_mib}m", f"-Xms{heap_mib}m", "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC", "-cp", f"{JARS.resolve()}/*",
    )  # fmt: skip


def prepare(places: Sequence[Path]) -> None:
    """Have each of the folders, with its settings, be one of a broker. OSError says why not."""
    options = "format", "--cluster-id", _ID, "--config", CONFIGURATION_NAME
    tools = [
        subprocess.Popen(  # noqa: S603 - our own arguments
            (*_java(128), "kafka.tools.StorageTool", *options), cwd=place,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for place in places
    ]  # fmt: skip
    said = [tool.communicate()[1] for tool in tools]
    for tool, text in zip(tools, said, strict=True):
        if tool.returncode:
            raise OSError(f"a broker could not be prepared: {text.strip()[-400:]}")
