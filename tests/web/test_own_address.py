"""The page answers its own visitors alone, and fetches nothing: neither for a page from elsewhere, nor for an address."""

import asyncio
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from flowgru.errors import RequestError
from flowgru.web.own_address import Limits, fetch_nothing, refusal

LOCAL, SHARED = Limits("127.0.0.1", 1000), Limits(None, 1000)


def asked(limits: Limits, method: str = "GET", path: str = "/", **headers: str) -> int | None:
    found = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    refused = refusal({"type": "http", "method": method, "path": path, "headers": found}, limits)
    return None if refused is None else refused[0]


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:9000", "[::1]:7860", "localhost"])
def test_this_machine_is_answered_by_its_own_names(host):
    assert asked(LOCAL, host=host) is None
    assert asked(LOCAL, "POST", host=host, origin=f"http://{host}", content_length="1000") is None


@pytest.mark.parametrize("host", ["evil.example:7860", "127.0.0.1.evil.example", "localhost.", ""])
def test_another_name_that_leads_here_is_not(host):
    assert asked(LOCAL, host=host) == 403
    assert asked(SHARED, host=host) is None


def test_a_page_from_elsewhere_can_send_nothing():
    for origin in ("http://evil.example", "null", "http://localhost:7861"):
        assert asked(LOCAL, "POST", host="localhost:7860", origin=origin, content_length="1") == 403
        assert asked(LOCAL, host="localhost:7860", origin=origin) == 403  # what it fetches, a script could read
    for site in ("cross-site", "same-site"):
        said = {"host": "localhost:7860", "sec_fetch_site": site}
        assert asked(LOCAL, "POST", content_length="1", **said) == 403
        assert asked(LOCAL, **said) is None  # a link to the page


def test_a_page_behind_a_proxy_is_told_by_what_browsers_say():
    public = {"host": "10.0.0.2:7860", "origin": "https://flow.example", "content_length": "1"}
    assert asked(SHARED, "POST", **public) == 403
    assert asked(SHARED, "POST", x_forwarded_host="flow.example", **public) == 403  # which a script can say
    assert asked(SHARED, "POST", sec_fetch_site="same-origin", **public) is None


@pytest.mark.parametrize("headers", [{"host": "[::1"}, {"host": "localhost", "origin": "http://["}])
def test_headers_that_make_no_sense_are_refused(headers):
    assert asked(LOCAL, "POST", content_length="1", **headers) == 403


@pytest.mark.parametrize("length", ["1001", "", "-1", "1e2", "9" * 5000])
def test_a_request_that_is_too_long_or_has_no_length_is_refused(length):
    assert asked(LOCAL, "POST", host="localhost", content_length=length) == 413
    chunked = {"content_length": "1", "transfer_encoding": "chunked"}
    assert asked(LOCAL, "POST", host="localhost", **chunked) == 413  # of which the server reads the chunks


@pytest.mark.parametrize(
    "path", ["/api/file=https://a.example/x", "/api/file/https://a.example/x", "/api/proxy=https://a/", "/FILE=http:/a"]
)
def test_nothing_is_relayed(path):
    assert asked(LOCAL, path=path, host="localhost") == 403
    assert asked(LOCAL, path="/gradio_api/file=/tmp/x/http.png", host="localhost") is None


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """Another server, and what it is asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}", paths
        server.shutdown()
        thread.join()


def answer(address: str, data: bytes | None = None, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(address, data, {name.replace("_", "-"): value for name, value in headers.items()})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as found:
            return found.status, found.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_server_keeps_to_that(served, elsewhere):
    address, paths = elsewhere
    assert answer(served.address)[0] == 200
    assert answer(served.address, Host="evil.example")[0] == 403
    assert answer(f"{served.address}/gradio_api/file={address}/a.png") == (
        403,
        "this page fetches nothing from other addresses\n",
    )
    api = f"{served.address}/gradio_api/queue"
    config = json.loads(answer(f"{served.address}/config")[1])
    event = next(
        each for each in config["dependencies"] if each["targets"][0][1] == "click" and len(each["inputs"]) > 8
    )
    picture = {"path": f"{address}/endless.png", "meta": {"_type": "gradio.FileData"}}
    data = [picture, picture, *[None] * (len(event["inputs"]) - 2)]
    body = json.dumps({"data": data, "fn_index": event["id"], "session_hash": "abc"}).encode()
    assert answer(f"{api}/join", body, Content_Type="application/json", Origin="http://evil.example")[0] == 403
    assert answer(f"{api}/join", body, Content_Type="application/json")[0] == 200
    said = answer(f"{api}/data?session_hash=abc")[1]
    assert '"success":false' in said.replace(" ", "") and paths == []


def test_no_part_of_the_page_fetches_an_address(monkeypatch):
    """The server's own tests cannot tell: gradio itself fetches nothing from this machine, which is all they can reach."""
    gradio = pytest.importorskip("gradio", reason="gradio is not installed: pip install 'flowgru[web]'")
    fetch = "async_ssrf_protected_download"
    monkeypatch.setattr(gradio.processing_utils, fetch, getattr(gradio.processing_utils, fetch))
    fetch_nothing()
    with gradio.Blocks():
        parts = [gradio.Image(), gradio.Video(), gradio.Dropdown()]
    for part in parts:
        given = {"path": "https://a.example/endless.mp4", "meta": {"_type": "gradio.FileData"}}
        with pytest.raises(RequestError, match=r"https://a\.example/endless\.mp4 is an address: give the file itself"):
            asyncio.run(gradio.processing_utils.async_move_files_to_cache(given, part, check_in_upload_folder=True))
