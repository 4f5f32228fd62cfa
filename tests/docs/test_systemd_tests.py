"""docs/systemd-tests.md names every test under a real systemd, and says that it passed."""

import re

from tests.systemd.report import DOCUMENT, TITLES, shows

ROW = re.compile(r"\| `(test_\w+)` \| (.+) \| (\w+) \| ([\d.]+) s \|")


def test_the_table_is_that_of_the_tests() -> None:
    """A test that is new, renamed or tells of something else is not there before `make systemd-tests` has run."""
    rows = ROW.findall(DOCUMENT.read_text(encoding="utf-8"))
    assert [(name, line.replace("\\|", "|")) for name, line, _, _ in rows] == [
        one for module in TITLES for one in shows(module).items()
    ]
    assert {outcome for _, _, outcome, _ in rows} == {"passed"}
