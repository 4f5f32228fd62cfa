"""The runner of examples itself: it reads blocks as they are meant, and a stale example makes it fail."""

from pathlib import Path

import pytest

from tests.docs.markdown import Block, Step, blocks, matches, printed, steps
from tests.docs.session import Stale, reading
from tests.service import wait_until

PAGE = Path("page.md")


def console(text: str) -> Block:
    """Return a console block."""
    return Block(PAGE, 1, "console", text)


def python(text: str) -> Block:
    """Return a python block."""
    return Block(PAGE, 1, "python", text)


def has_ended(process: Path) -> bool:
    """Return whether the process of this directory in /proc is gone, or waits only for somebody to notice."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_blocks_have_their_line_language_and_reason() -> None:
    """A comment right above a block leaves it out, blank lines between them allowed; it counts for that block only."""
    text = """# Page

```console
$ true
```

<!-- not run: needs root -->

```console
$ reboot
```

~~~text
```
~~~
<!-- not run: -->
```python
```
"""
    assert list(blocks(PAGE, text)) == [
        Block(PAGE, 4, "console", "$ true"),
        Block(PAGE, 10, "console", "$ reboot", "needs root"),
        Block(PAGE, 14, "text", "```"),
        Block(PAGE, 18, "python", "", ""),
    ]


def test_a_block_that_is_never_closed_is_refused() -> None:
    """Everything behind it would be left out without a word."""
    with pytest.raises(ValueError, match=r"page\.md:1: the block is never closed"):
        list(blocks(PAGE, "```console\n$ true\n"))


def test_steps_are_commands_with_their_output() -> None:
    """A backslash continues a command; what follows up to the next prompt is its output."""
    assert steps(console("$ echo a \\\n  b\na b\n\n$ true")) == [
        Step(1, "echo a \\\n  b", "a b\n\n"),
        Step(5, "true", ""),
    ]


def test_output_without_a_command_is_refused() -> None:
    """A command whose prompt was forgotten would be taken for output."""
    with pytest.raises(ValueError, match=r"page\.md:1: a console block begins with"):
        steps(console("make test"))


def test_a_print_says_what_it_prints() -> None:
    """What a block of Python prints stands beside the print."""
    assert printed(python("x = 1  # one\nprint(x)  # 1\nprint(\n")) == "1\n"
    with pytest.raises(ValueError, match=r"page\.md:1: print"):
        printed(python("print(1)"))


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        ("", "", True),
        ("", "x", False),
        ("a\n", "a", True),
        ("a \n", "a", True),
        ("a\n", "a\nb\n", False),
        ("a", "b", False),
        ("0.5201…}", "0.5201000000000005}", True),
        ("0.5201…}", "0.5202}", False),
        ("a…d", "a\nd", False),
        ("a\n…\nd", "a\nb\nc\nd", True),
        ("a\n…\nd", "a\nd", True),
        ("a\n…", "b\nc", False),
        ("a.c", "abc", False),
    ],
)
def test_an_ellipsis_is_the_only_wildcard(expected: str, actual: str, same: bool) -> None:  # noqa: FBT001 - a case
    """Inside a line it stands for any text, alone for any lines; everything else is compared."""
    assert matches(expected, actual) is same


@pytest.mark.parametrize(
    "block",
    [
        console("$ echo a\nb"),
        console("$ echo a"),
        console("$ true\na"),
        console("$ false"),
        console("$ no-such-command"),
        console("$ exit 0"),
        python("print(1 + 1)  # 3"),
        python("print(1)  # 1\nif False:\n    print(2)  # 2"),
    ],
)
def test_a_stale_example_fails(tmp_path: Path, block: Block) -> None:
    """Other output, no output, a failure: each is noticed."""
    with reading(tmp_path, with_service=False) as reader, pytest.raises(Stale):
        reader.run(block)


def test_a_stale_answer_of_the_service_fails(tmp_path: Path) -> None:
    """The address of the documents is that of the test's service, whose answer has to be the documented one."""
    command = "$ curl -s http://127.0.0.1:8080/health\n"
    with reading(tmp_path, with_service=True) as reader:
        reader.run(console(command + '{"status":"ok"}'))
        with pytest.raises(Stale, match='"status":"ok"'):
            reader.run(console(command + '{"status":"fine"}'))


def test_progress_is_no_output_of_an_example(tmp_path: Path) -> None:
    """Whether an import takes longer than a second says nothing of a document."""
    with reading(tmp_path, with_service=False) as reader:
        reader.run(console("""$ echo '{"event":"importing","rows":1}' >&2; echo done\ndone\n"""))


def test_state_goes_from_one_example_to_the_next(tmp_path: Path) -> None:
    """Variables of the shell, names of Python, and files in the folder that both share."""
    with reading(tmp_path, with_service=False) as reader:
        reader.run(console("$ x=1; echo 2 > file"))
        reader.run(console("$ echo $x\n1"))
        reader.run(python("from pathlib import Path\ny = Path('file').read_text()"))
        reader.run(python("print(y.strip())  # 2"))


def test_what_runs_in_the_background_ends_with_the_reader(tmp_path: Path) -> None:
    """No service that an example has started outlives the test."""
    with reading(tmp_path, with_service=False) as reader:
        reader.run(console("$ sleep 1000 > /dev/null & echo $! > pid"))
        process = Path("/proc") / (tmp_path / "pid").read_text().strip()
        assert process.exists()
    wait_until(lambda: has_ended(process), "the end of the process")
