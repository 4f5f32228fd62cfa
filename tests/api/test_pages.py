"""The pages and their files, as a browser asks for them; what they do in a browser is the business of tests/browser."""

import gzip
import re

import pytest

from api.routes.pages import asset, names
from tests.api.test_http_table import refused
from tests.service import ROOT, Service

MAX_PAGE_BYTES = 220_000
PAGES = {"/": "index.html", "/docs": "docs.html", "/docs/": "docs.html"}
CODINGS = ("identity", "gzip")
LINK = re.compile(r'(?:src|href)="([^"#]+)"')


@pytest.mark.parametrize("path", PAGES)
def test_every_link_of_a_page_leads_somewhere_on_this_service(shared_service: Service, path: str) -> None:
    """Links are relative, so a prefix before them changes nothing, and none names another host."""
    answer = shared_service.client.get(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    links = LINK.findall(answer.text)
    assert len(links) > 5
    for link in links:
        assert not re.match(r"[a-z]+:|/", link), link
        assert shared_service.client.get(str(answer.url.join(link))).status_code == 200, link


@pytest.mark.parametrize("path", [*PAGES, "/static/dashboard.js", "/static/uplot.css", "/openapi.json"])
def test_a_page_that_has_not_changed_is_not_sent_again(shared_service: Service, path: str) -> None:
    """304 with the ETag of before; another tag gets the page."""
    client = shared_service.client
    tag = client.get(path).headers["ETag"]
    again = client.get(path, headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    for named in ("*", f"W/{tag}", f'"other", {tag}'):
        assert client.get(path, headers={"If-None-Match": named}).status_code == 304, named
    assert client.head(path).status_code == 200


@pytest.mark.parametrize("path", [*PAGES, "/static/dashboard.js", "/static/icon.svg"])
def test_nothing_foreign_may_run_in_a_page(shared_service: Service, path: str) -> None:
    """The policy allows this service's own files and nothing inline, no frame, no base, no form."""
    headers = shared_service.client.get(path).headers
    policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    assert policy == {
        "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self'",
        "connect-src": "'self'", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'",
    }  # fmt: skip
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_files_are_compressed_for_whom_takes_it(shared_service: Service) -> None:
    """The same bytes either way, and Vary says that they differ on the wire."""
    url = f"{shared_service.url}/static/uplot.js"
    plain = shared_service.client.get(url, headers={"Accept-Encoding": "identity"})
    packed = shared_service.client.get(url, headers={"Accept-Encoding": "br, gzip"})
    assert "Content-Encoding" not in plain.headers
    assert (packed.headers["Content-Encoding"], packed.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert int(packed.headers["Content-Length"]) < int(plain.headers["Content-Length"]) / 2
    assert packed.content == plain.content == (ROOT / "api" / "static" / "vendor" / "uplot.js").read_bytes()


@pytest.mark.parametrize("path", ["/", "/static/dashboard.js", "/openapi.json"])
def test_each_coding_has_its_tag(shared_service: Service, path: str) -> None:
    """So a cache never takes the one for the other: a strong tag names bytes as they are sent."""
    client = shared_service.client
    tags = {coding: client.get(path, headers={"Accept-Encoding": coding}).headers["ETag"] for coding in CODINGS}
    assert len(set(tags.values())) == len(CODINGS)
    for coding in CODINGS:
        for other, tag in tags.items():
            answer = client.get(path, headers={"Accept-Encoding": coding, "If-None-Match": tag})
            assert answer.status_code == (304 if coding == other else 200)
            assert answer.headers["ETag"] == tags[coding]


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"), ("GZIP", "gzip"), ("x-gzip", "gzip"), ("br, gzip;q=0.5", "gzip"), ("*", "gzip"),
        ("*;q=0.1", "gzip"), ("gzip ; q=0.001", "gzip"), ("identity;q=0.5, gzip", "gzip"),
        ("", None), ("br", None), ("gzip;q=0", None), ("gzip; q=0.000", None), ("*;q=0", None),
        ("gzip;q=0, *", None), ("identity, gzip;q=0.5", None), ("gzipped", None), ("gzip;q=none", None),
    ],
)  # fmt: skip
def test_gzip_is_for_whom_takes_it(shared_service: Service, accepted: str, coding: str | None) -> None:
    """By the weights of Accept-Encoding, with one of 0 refusing it."""
    answer = shared_service.client.get("/openapi.json", headers={"Accept-Encoding": accepted})
    assert answer.headers.get("Content-Encoding") == coding
    assert answer.content == (ROOT / "api" / "routes" / "openapi.json").read_bytes()


@pytest.mark.parametrize("name", ["index.html", "vendor.json", "missing.js", "..%2Fopenapi.json", "%2e%2e", "pages.py"])
def test_nothing_else_is_served(shared_service: Service, name: str) -> None:
    """Only the files of the pages have a name here."""
    refused(shared_service.client.get(f"/static/{name}"), 404)


@pytest.mark.parametrize("page", ["index.html", "docs.html"])
def test_a_page_weighs_little(page: str) -> None:
    """All that a browser loads for it, not compressed."""
    seen: set[str] = set()
    left = [page]
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            text = asset(name).plain.decode()
            left += re.findall(r"static/([\w.-]+)", text) + re.findall(r'from "\./([\w.-]+)"', text)
    assert {"base.css", "client.js", "dom.js"} < seen
    assert sum(len(asset(name).plain) for name in seen) <= MAX_PAGE_BYTES
    assert sum(len(gzip.compress(asset(name).plain)) for name in seen) <= MAX_PAGE_BYTES / 2


@pytest.mark.parametrize(("page", "script"), [("index.html", "dashboard.js"), ("docs.html", "docs.js")])
def test_a_page_names_all_modules_that_it_needs(page: str, script: str) -> None:
    """So that a browser asks for them at once, and not when it has read the module that imports them."""
    needed: set[str] = set()
    left = [script]
    while left:
        imported = set(re.findall(r'from "\./([\w.-]+)"', asset(left.pop()).plain.decode())) - needed
        needed |= imported
        left += imported
    named = re.findall(r'rel="modulepreload" href="[^"]*/static/([\w.-]+)"', asset(page).plain.decode())
    assert sorted(needed) == named


def test_every_file_belongs_to_a_page() -> None:
    """What nothing refers to is not served; the licence of what is shipped has a link on the page that uses it."""
    used: set[str] = set()
    for name in [*names(), "index.html", "docs.html"]:
        text = asset(name).plain.decode()
        used |= {*re.findall(r"static/([\w.-]+)", text), *re.findall(r'from "\./([\w.-]+)"', text)}
    assert names() == used & names()
    assert "static/uplot-licence.txt" in asset("index.html").plain.decode()
