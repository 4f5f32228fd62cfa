"""One phase of one store in a process of its own; what it finds goes line by line into a file.

python -m perf.peers.worker NAME PHASE DIRECTORY EVENTS '{"points": …}'
"""

import json
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perf.peers.catalogue import make
from perf.peers.measure import Limits, Report, append_and_ask, reopen_and_ask, variance
from perf.peers.peer import Unavailable


def run(name: str, phase: str, directory: Path, events: Path, options: Mapping[str, Any]) -> int:
    """Run the phase and return the exit code; a failure is an event too."""
    with events.open("a", encoding="utf-8") as sink:

        def report(event: str, fields: Mapping[str, object]) -> None:
            sink.write(json.dumps({"event": event, **fields}) + "\n")
            sink.flush()

        try:
            _phase(name, phase, directory, options, report)
        except Unavailable as reason:
            report("unavailable", {"reason": str(reason)})
        except Exception as error:  # noqa: BLE001 - whatever a store throws is a result
            text = "".join(traceback.format_exception_only(error)).strip()
            report("failed", {"reason": text[:500]})
            traceback.print_exc()
            return 1
    return 0


def _phase(name: str, phase: str, directory: Path, options: Mapping[str, Any], report: Report) -> None:
    peer = make(name)
    limits = Limits(options["append_limit_s"], options["query_limit_s"])
    if phase == "measure":
        append_and_ask(peer, directory, options["points"], limits, report)
    elif phase == "restart":
        reopen_and_ask(peer, directory, options["windows"], limits, options["spawned"], report)
    elif phase == "variance":
        variance(peer, directory, report)
    else:
        raise ValueError(f"no such phase: {phase}")


def main() -> None:
    """Run, and end without the clean-up of an interpreter: a store that failed may have threads that never end."""
    name, phase, directory, events, options = sys.argv[1:]
    code = run(name, phase, Path(directory), Path(events), json.loads(options))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
