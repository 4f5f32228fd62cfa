"""Check the Markdown files: links and anchors lead somewhere, code blocks parse, lines are short.

And hold them against what they describe: the table of settings in docs/configuration.md against config.toml, key by
key and both ways, and the routes that a document names against api/routes/openapi.json, both ways.

    python .ci/check_docs.py

Exits 1 and names file and line of every fault. Whether the examples also *work* is what the tests run them for.
"""

import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATION = ROOT / "docs" / "configuration.md"
CONFIG = ROOT / "config.toml"
HTTP_API = ROOT / "docs" / "http-api.md"
OPENAPI = ROOT / "api" / "routes" / "openapi.json"
MAX_LINE_LENGTH = 120
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
HEADING = re.compile(r"#{1,6}\s+(.*)")
FENCE = re.compile(r"\s*(`{3,}|~{3,})\s*([\w-]*)")
# | `server.port` | `8080` | `APP_SERVER__PORT` | …
SETTING = re.compile(r"\| `(\w+\.\w+)` \| `([^`]*)` \| `(\w+)` \| ")
# "GET /stats" anywhere in a document, and the path of an example's URL; either may end with a slash.
ROUTES = (
    re.compile(r"\b(GET|HEAD|POST|PUT|PATCH|DELETE) (/[\w./{}-]*)"),
    re.compile(r"()http://127\.0\.0\.1:8080(/[\w./%-]*)"),
)
PARSERS: dict[str, Callable[[str], object]] = {
    "json": json.loads,
    "toml": tomllib.loads,
    "python": lambda text: compile(text, "<example>", "exec"),
}

Fault = tuple[int, str]


def documents() -> list[Path]:
    """Return every Markdown file of the project, generated folders left out."""
    skipped = {"build", "dist", "data", "logs"}
    return sorted(
        path
        for path in ROOT.rglob("*.md")
        if not any(part.startswith(".") or part in skipped for part in path.relative_to(ROOT).parts[:-1])
    )


def slug(heading: str) -> str:
    """Return the anchor that a forge gives to `heading`: lower case, punctuation dropped, spaces as hyphens."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def split(text: str) -> tuple[list[tuple[int, str]], list[tuple[int, str, str]], list[Fault]]:
    """Split a document into prose lines, code blocks (first line, language, text) and faults of its fences."""
    prose: list[tuple[int, str]] = []
    blocks: list[tuple[int, str, str]] = []
    fence, language, opened, code = "", "", 0, list[str]()
    for number, line in enumerate(text.splitlines(), start=1):
        match = FENCE.match(line)
        if fence:
            if match and match[1].startswith(fence) and not match[2]:
                blocks.append((opened, language, "\n".join(code)))
                fence = ""
            else:
                code.append(line)
        elif match:
            fence, language, opened, code = match[1], match[2], number, []
        else:
            prose.append((number, line))
    return prose, blocks, [(opened, "code block is never closed")] if fence else []


def anchors(path: Path) -> set[str]:
    """Return the anchors of all headings of the document at `path`; a repeated heading gets -1, -2, …."""
    seen: dict[str, int] = {}
    found: set[str] = set()
    for _, line in split(path.read_text(encoding="utf-8"))[0]:
        if match := HEADING.match(line):
            name = slug(match[1])
            found.add(f"{name}-{seen[name]}" if name in seen else name)
            seen[name] = seen.get(name, 0) + 1
    return found


def link_fault(path: Path, target: str) -> str | None:
    """Return what is wrong with a link of the document at `path`, or None. Nothing outside the project is asked."""
    if re.match(r"[a-z]+:", target):
        return None
    name, _, anchor = target.partition("#")
    linked = (path.parent / name).resolve() if name else path
    if not linked.exists():
        return f"link leads nowhere: {target}"
    if anchor and linked.suffix == ".md" and anchor not in anchors(linked):
        return f"no such heading: {target}"
    return None


def faults(path: Path) -> Iterator[Fault]:
    """Yield line number and text of every fault of the document at `path`."""
    text = path.read_text(encoding="utf-8")
    prose, blocks, unclosed = split(text)
    yield from unclosed
    for number, line in enumerate(text.splitlines(), start=1):
        if len(line) > MAX_LINE_LENGTH and not line.startswith("|"):  # a row of a table can't be wrapped
            yield number, f"{len(line)} characters, {MAX_LINE_LENGTH} at most"
        if line != line.rstrip():
            yield number, "space at the end of the line"
    for number, line in prose:
        for target in LINK.findall(re.sub(r"`[^`]*`", "", line)):
            if fault := link_fault(path, target):
                yield number, fault
    for number, language, code in blocks:
        if parse := PARSERS.get(language):
            try:
                parse(code)
            except (SyntaxError, ValueError) as error:
                yield number, f"{language} block does not parse: {error}"


def written(value: object) -> str:
    """Return a default as the table shows it: true and false as in TOML, an empty text as two quotes."""
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'


def setting_faults(document: str, config: str) -> Iterator[Fault]:
    """Yield where the settings in a table of `document` and those in `config` differ: keys, defaults, variables."""
    actual = {
        f"{section}.{name}": value for section, table in tomllib.loads(config).items() for name, value in table.items()
    }
    documented: set[str] = set()
    for number, line in enumerate(document.splitlines(), start=1):
        if match := SETTING.match(line):
            key, default, variable = match.groups()
            documented.add(key)
            if key not in actual:
                yield number, f"config.toml has no {key}"
            elif written(actual[key]) != default:
                yield number, f"{key} is {written(actual[key])} in config.toml, not {default}"
            if variable != (expected := f"APP_{key.upper().replace('.', '__')}"):
                yield number, f"the variable of {key} is {expected}, not {variable}"
    for key in actual:
        if key not in documented:
            yield 1, f"no table has the setting {key} of config.toml"


def routes(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, method ("" where none is named) and path of every route that a document names."""
    for number, line in enumerate(text.splitlines(), start=1):
        for pattern in ROUTES:
            for method, path in pattern.findall(line):
                yield number, method, path.rstrip("/.") or "/"


def route_of(path: str, openapi: dict[str, dict[str, object]]) -> str:
    """Return the route that `path` leads to: itself, or the one whose name in braces stands for its end."""
    if path in openapi:
        return path
    return next((route for route in openapi if "{" in route and path.startswith(route[: route.index("{")])), path)


def route_faults(text: str, openapi: dict[str, dict[str, object]]) -> Iterator[Fault]:
    """Yield every route named in a document that the service does not have."""
    for number, method, path in routes(text):
        route = route_of(path, openapi)
        if path != "/" and route not in openapi:
            yield number, f"no such route: {path}"
        elif method and path != "/" and method.lower() not in openapi[route]:
            yield number, f"{path} has no {method}"


def missing_routes(text: str, openapi: dict[str, dict[str, object]]) -> Iterator[Fault]:
    """Yield every route of the service that a document never names."""
    named = {path for _, _, path in routes(text)}
    for path in openapi:
        if path not in named:
            yield 1, f"the route {path} is not in here"


def described() -> Iterator[tuple[Path, Fault]]:
    """Yield every place where the documents differ from what they describe."""
    openapi = json.loads(OPENAPI.read_text(encoding="utf-8"))["paths"]
    configuration = CONFIGURATION.read_text(encoding="utf-8")
    for fault in setting_faults(configuration, CONFIG.read_text(encoding="utf-8")):
        yield CONFIGURATION, fault
    for path in documents():
        for fault in route_faults(path.read_text(encoding="utf-8"), openapi):
            yield path, fault
    for fault in missing_routes(HTTP_API.read_text(encoding="utf-8"), openapi):
        yield HTTP_API, fault


def main() -> int:
    """Check all documents, print every fault, return the exit code."""
    paths = documents()
    found = [(path, number, text) for path in paths for number, text in faults(path)]
    found += [(path, number, text) for path, (number, text) in described()]
    found.sort()
    for path, number, text in found:
        print(f"{path.relative_to(ROOT)}:{number}: {text}")
    print(f"{len(paths)} documents, {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
