"""torchvision's released weights come from torch's cache, or are downloaded once and checked."""

import urllib.error
from pathlib import Path

import pytest
import torch
from torchvision.models.optical_flow import Raft_Large_Weights, Raft_Small_Weights, raft_large, raft_small

from flowgru.config import NetworkConfig
from flowgru.errors import MachineError
from flowgru.model.weight_files.loading import load_model


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch keeps what it has downloaded, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def refusal(source: str) -> str:
    """The one line with which load_model refuses."""
    with pytest.raises(MachineError) as caught:
        load_model(source, device="cpu")
    text = str(caught.value)
    assert "\n" not in text
    return text


class _Response:
    """What urlopen gives: a body and no headers."""

    def __init__(self, body: Path) -> None:
        self.file = body.open("rb")
        self.read = self.file.read

    def info(self) -> "_Response":
        return self

    def get_all(self, _: str) -> None:
        return None

    def __enter__(self) -> "_Response":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


@pytest.mark.parametrize(
    ("name", "released", "make", "config"),
    [
        ("raft_small", Raft_Small_Weights.DEFAULT, raft_small, NetworkConfig("small", "conv_gru")),
        ("raft_large", Raft_Large_Weights.DEFAULT, raft_large, NetworkConfig("large", "seq_conv_gru")),
    ],
    ids=["small", "large"],
)
def test_released_weights_are_read_from_the_cache(
    name: str, released, make, config: NetworkConfig, cache: Path
) -> None:
    torch.save(make(weights=None).state_dict(), cache / released.url.rsplit("/", 1)[1])
    network = load_model(name, device="cpu")
    assert network.config == config
    assert network.card["source"] == released.url


def test_a_download_without_a_net_names_url_and_cache(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_net(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_net)
    url = Raft_Small_Weights.DEFAULT.url
    text = refusal("raft_small")
    for part in (url, str(cache / url.rsplit("/", 1)[1]), "no route to host"):
        assert part in text
    assert capsys.readouterr().out == "", "standard output is for results"


def test_a_download_of_another_file_is_refused(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.html"
    page.write_text("<html>log in to the network</html>")
    monkeypatch.setattr("torch.hub.urlopen", lambda *_, **__: _Response(page))
    assert "damaged" in refusal("raft_small")
    assert not list(cache.iterdir()), "nothing of it stays in the cache"


def test_a_damaged_cache_is_named(cache: Path) -> None:
    path = cache / Raft_Small_Weights.DEFAULT.url.rsplit("/", 1)[1]
    torch.save(raft_small(weights=None).state_dict(), path)
    path.write_bytes(path.read_bytes()[:100_000])
    assert str(path) in refusal("raft_small")
