"""Models go to the Hugging Face Hub and come back: a server on this machine answers as the Hub does."""

import base64
import hashlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from estimates import names, only_error
from interpreter import run_alone
from made_inputs import refused
from paths import ROOT

import flowgru
from flowgru.cli import main
from flowgru.errors import MachineError, RequestError
from flowgru.model.weight_files import hub
from flowgru.model.weight_files.model_file import WEIGHTS, read_weights

huggingface_hub = pytest.importorskip("huggingface_hub", reason="needs the extra hub")


class Hub(BaseHTTPRequestHandler):
    """The routes of the Hub that a model's upload and download ask for."""

    repositories: dict[str, dict[str, bytes]]
    commit = "0123456789abcdef0123456789abcdef01234567"
    server: Any

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/api/models/"):
            name, _, revision = path.removeprefix("/api/models/").partition("/revision/")
            if name not in self.repositories:
                return self._send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            if revision not in ("", "main", self.commit):
                return self._send(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
            return self._send(200, {"id": name, "sha": self.commit, "siblings": [], "private": False})
        name, _, file = path[1:].partition("/resolve/")
        files = self.repositories.get(name, {})
        content = files.get(file.partition("/")[2])
        if content is None:
            return self._send(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
        digest = hashlib.sha256(content).hexdigest()
        facts = {"ETag": f'"{digest}"', "X-Repo-Commit": self.commit, "Content-Length": str(len(content))}
        self.server.downloads += with_body
        return self._send(200, content if with_body else b"", facts)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        name = self.path.removeprefix("/api/models/").rsplit("/", 2)[0]
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            if asked.get("organization") == "forbidden":
                return self._send(403, {"error": "You have no rights to create a model there"})
            full = f"{asked['organization']}/{asked['name']}"
            self.repositories.setdefault(full, {})
            return self._send(200, {"url": f"http://{self.headers['Host']}/{full}", "id": "1", "name": full})
        if self.path.startswith("/api/validate-yaml"):
            return self._send(200, {"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            files = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(body)["files"]]
            return self._send(200, {"files": [{**file, "shouldIgnore": False} for file in files]})
        if "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.repositories[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"http://{self.headers['Host']}/{name}/commit/{self.commit}"
            return self._send(200, {"commitUrl": url, "commitOid": self.commit, "success": True})
        return self._send(404, {"error": self.path})

    def _send(self, code: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = {"Content-Length": str(len(data)), **(headers or {})}
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


def point_at(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_ENDPOINT does before the library is imported."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Hub that nobody serves, nothing stored, and somebody who is logged in."""
    point_at("http://127.0.0.1:9", monkeypatch)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "stored"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")


@pytest.fixture
def served(place: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The Hub, with one repository that holds no model."""
    handler = type("Handler", (Hub,), {"repositories": {"me/empty": {"README.md": b""}}})
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.downloads = 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    point_at(f"http://127.0.0.1:{server.server_port}", monkeypatch)
    yield SimpleNamespace(repositories=handler.repositories, server=server)
    server.shutdown()
    server.server_close()


def same(first: Any, second: Any) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_network_comes_back_from_its_file_with_its_card(model, tmp_path):
    network = flowgru.load_model(model, "cpu")
    flowgru.save_model(network, tmp_path / "mine.safetensors")
    again = flowgru.load_model(tmp_path / "mine.safetensors", "cpu")
    assert same(again, network) and again.card == network.card and again.config == network.config
    assert "exists already" in refused(lambda: flowgru.save_model(network, tmp_path / "mine.safetensors"))
    flowgru.save_model(network, tmp_path / "mine.safetensors", overwrite=True)
    assert "suffix must be .safetensors" in refused(lambda: flowgru.save_model(network, tmp_path / "mine.pth"))
    assert "network is a OrderedDict" in refused(
        lambda: flowgru.save_model(network.state_dict(), tmp_path / "m.safetensors")
    )
    assert names(tmp_path) == ["mine.safetensors"]


def test_what_is_pushed_is_loaded_again_and_downloaded_once(served, model, tmp_path, pair, output):
    network = flowgru.load_model(model, "cpu")
    assert flowgru.push_model(network, "me/walk") == "hf://me/walk"
    assert sorted(served.repositories["me/walk"]) == ["README.md", WEIGHTS]
    for address in ("hf://me/walk", "hf://me/walk@main", f"hf://me/walk@{Hub.commit}"):
        again = flowgru.load_model(address, "cpu")
        assert same(again, network) and again.card == network.card
    assert served.server.downloads == 1
    words = ["estimate", *pair, "--model", "hf://me/walk", "--output", str(output), "--device", "cpu"]
    assert main(words) == 0 and (output / "a.flo").exists()
    assert same(*(flowgru.load_model(Path("hf://me/walk"), "cpu") for _ in range(2)))


def test_other_weights_under_the_same_address_are_another_request(served, model, pair, output, capsys, monkeypatch):
    network = flowgru.load_model(model, "cpu")
    flowgru.push_model(network, "me/walk")
    words = ["estimate", *pair, "--model", "hf://me/walk", "--output", str(output), "--device", "cpu"]
    assert main(words) == 0 and main(words) == 0
    assert "holds the 1 flow of this command already" in capsys.readouterr().out
    monkeypatch.setattr(Hub, "commit", Hub.commit[::-1])
    with torch.no_grad():
        next(iter(network.parameters())).mul_(2)
    flowgru.push_model(network, "me/walk")
    capsys.readouterr()
    assert main(words) == 2
    assert "another request (weights was " in only_error(capsys)
    summary = json.loads((output / "summary.json").read_text())
    del summary["request"]["weights"]  # as an earlier version wrote it
    (output / "summary.json").write_text(json.dumps(summary))
    assert main(words) == 0


def test_the_page_of_a_pushed_model_says_how_it_is_used_and_its_card(served, model):
    flowgru.push_model(flowgru.load_model(model, "cpu"), "hf://me/walk")
    text = served.repositories["me/walk"]["README.md"].decode()
    _, facts, rest = text.split("---\n", 2)
    assert yaml.safe_load(facts) == {
        "library_name": "flowgru",
        "tags": ["optical-flow"],
        "license": "other",
        "license_name": "see-card",
    }
    assert "flowgru estimate clip.mp4 --model hf://me/walk --output out" in rest and '"iterations": 2' in rest
    assert huggingface_hub.ModelCard(text).data.library_name == "flowgru"


def test_without_the_net_a_stored_model_is_used_and_another_is_refused_in_three_seconds(
    served, model, monkeypatch, capsys
):
    network = flowgru.load_model(model, "cpu")
    flowgru.push_model(network, "me/walk")
    flowgru.load_model("hf://me/walk", "cpu")
    point_at("http://127.0.0.1:9", monkeypatch)
    assert same(flowgru.load_model("hf://me/walk", "cpu"), network)
    assert "using me/walk as it was stored on this machine" in capsys.readouterr().err
    began = time.perf_counter()
    with pytest.raises(MachineError, match="the Hub cannot be asked for me/other"):
        flowgru.load_model("hf://me/other", "cpu")
    with pytest.raises(MachineError, match="the Hub does not take me/other"):
        flowgru.push_model(network, "me/other")
    assert time.perf_counter() - began < 6


def test_the_hub_is_asked_by_a_process_that_has_imported_nothing_of_it(tmp_path):
    code = (
        "import os, sys\n"
        "assert 'huggingface_hub' not in sys.modules\n"
        "os.environ |= {'HF_ENDPOINT': 'http://127.0.0.1:9', 'HF_HUB_CACHE': sys.argv[1]}\n"
        "import flowgru\n"
        "flowgru.load_model('hf://me/walk', 'cpu')"
    )
    lines = run_alone(code, tmp_path).stderr.splitlines()  # PyTorch's compiler may have the last word as a process ends
    errors = [line for line in lines if line.startswith("flowgru.errors.")]
    assert len(errors) == 1 and errors[0].startswith(
        "flowgru.errors.MachineError: the Hub cannot be asked for me/walk ("
    ), lines


def test_a_hub_that_never_answers_is_waited_for_no_longer(place, monkeypatch):
    monkeypatch.setattr(hub, "SECONDS_TO_ANSWER", 0.2)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: time.sleep(30))
    began = time.perf_counter()
    with pytest.raises(MachineError, match=r"\(no answer within 0.2 s\)"):
        flowgru.load_model("hf://me/walk", "cpu")
    assert time.perf_counter() - began < 3


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("hf://me/nowhere", "the Hub has no model me/nowhere that may be read here"),
        ("hf://me/empty", "me/empty on the Hub has no model.safetensors: it is no model of flowgru"),
        ("hf://me/empty@v9", "me/empty on the Hub has no revision v9"),
        ("hf://me", "names no repository of the Hub: expected hf://owner/name"),
        ("hf://me/a/b", "names no repository of the Hub"),
        ("hf://me/..", "names no repository of the Hub"),
    ],
)
def test_an_address_that_leads_to_no_model_is_one_line(served, address, said, pair, output, capsys):
    assert main(["estimate", *pair, "--model", address, "--output", str(output), "--device", "cpu"]) == 2
    assert said in only_error(capsys) and not output.exists()


def test_weights_that_are_none_are_one_line(served):
    served.repositories["me/broken"] = {WEIGHTS: b"<html>"}
    assert "is not a checkpoint" in refused(lambda: flowgru.load_model("hf://me/broken", "cpu"))


@pytest.mark.parametrize("name", ["walk", "", "a/b/c", "me/.."])
def test_a_name_that_no_repository_can_have_is_refused(served, model, name):
    with pytest.raises(RequestError, match="repository"):
        flowgru.push_model(flowgru.load_model(model, "cpu"), name)
    assert [*served.repositories] == ["me/empty"]


def test_a_refusal_of_the_hub_is_one_line(served, model):
    text = refused(lambda: flowgru.push_model(flowgru.load_model(model, "cpu"), "forbidden/walk"))
    assert "the Hub does not take forbidden/walk" in text and "hf auth login" in text


def test_without_the_package_the_line_names_the_extra(monkeypatch, model, pair, output, capsys):
    network = flowgru.load_model(model, "cpu")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert main(["estimate", *pair, "--model", "hf://a/b", "--output", str(output), "--device", "cpu"]) == 2
    assert "hf://a/b needs the package huggingface_hub: pip install 'flowgru[hub]'" in only_error(capsys)
    assert "pip install 'flowgru[hub]'" in refused(lambda: flowgru.push_model(network, "a/b"))


def test_torch_hub_gives_the_networks_of_a_checkout(monkeypatch):
    network: Any = torch.hub.load(str(ROOT), "flowgru", source="local", device="cpu")
    weights, _ = read_weights(ROOT / "flowgru/weights/default.safetensors")
    assert all(torch.equal(network.state_dict()[name], value) for name, value in weights.items())
    asked = []
    monkeypatch.setattr("flowgru.model.weight_files.loading.load_model", lambda *given, **_: asked.append(given))
    torch.hub.load(str(ROOT), "flowgru_raft_large", source="local", device="cpu")
    assert asked == [("raft_large", "cpu")]
