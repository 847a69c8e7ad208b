"""`load_model` gives the network that a name or a file stands for, or says in one line why it cannot."""

import re
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models.optical_flow import raft_small

from flowgru.config import NetworkConfig
from flowgru.errors import FlowgruError, MachineError, RequestError
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files import loading
from flowgru.model.weight_files.loading import choose_device, load_model
from flowgru.model.weight_files.model_file import write_model_file
from flowgru.model.weight_files.raft_names import from_our_names, naming_of

COMPACT = NetworkConfig("compact", "conv_min_gru")
SMALL = NetworkConfig("small", "conv_gru")


def our_weights(config: NetworkConfig) -> dict[str, Tensor]:
    return dict(FlowNetwork(config).state_dict())


def their_weights() -> dict[str, Tensor]:
    return dict(raft_small(weights=None).state_dict())


def card_of(preset: str = "compact", operator: str = "conv_min_gru") -> dict[str, Any]:
    return {"network": {"preset": preset, "operator": operator}, "license": "BSD-3-Clause"}


def same_weights(network: FlowNetwork, weights: dict[str, Tensor]) -> bool:
    found = network.state_dict()
    return found.keys() == weights.keys() and all(torch.equal(found[name], weights[name]) for name in weights)


def refusal(error: type[FlowgruError], source: str | Path, device: str | None = "cpu") -> str:
    """The one line with which load_model refuses."""
    with pytest.raises(error) as caught:
        load_model(source, device=device)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_our_file_gives_its_network_and_card(tmp_path: Path) -> None:
    weights = our_weights(COMPACT)
    write_model_file(tmp_path / "mine.safetensors", weights, card_of())
    network = load_model(tmp_path / "mine.safetensors", device="cpu")
    assert network.config == COMPACT
    assert network.card == card_of() | {"network": asdict(COMPACT)}
    assert not network.training
    assert same_weights(network, weights)


@pytest.mark.parametrize(
    "config", [COMPACT, SMALL, NetworkConfig("large", "conv_gru"), replace(COMPACT, confidence=True)], ids=str
)
def test_a_file_without_a_card_is_recognised_by_its_weights(config: NetworkConfig, tmp_path: Path) -> None:
    weights = our_weights(config)
    torch.save(weights, tmp_path / "weights.pt")
    with pytest.warns(
        UserWarning, match=rf"no card: it is taken for {config.preset} .* and texture_gate false, of which"
    ):
        network = load_model(str(tmp_path / "weights.pt"), device="cpu")
    assert network.config == config and same_weights(network, weights)
    assert network.card == {"network": asdict(config)}


def test_weights_of_half_precision_are_widened(tmp_path: Path) -> None:
    weights = {name: value.half() for name, value in their_weights().items()}
    torch.save(weights, tmp_path / "half.pth")
    network = load_model(tmp_path / "half.pth", device="cpu")
    assert all(value.dtype == torch.float32 for value in network.parameters())
    assert torch.equal(network.state_dict()["feature_encoder.out.bias"], weights["feature_encoder.conv.bias"].float())


def test_loading_leaves_the_random_numbers_alone(tmp_path: Path) -> None:
    torch.save(their_weights(), tmp_path / "raft.pth")
    before = torch.get_rng_state()
    load_model(tmp_path / "raft.pth", device="cpu")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_the_callers_default_type_and_device_do_not_matter(kind, tmp_path: Path) -> None:
    torch.save(their_weights(), tmp_path / "raft.pth")
    expected = load_model(tmp_path / "raft.pth", device="cpu")
    torch.set_default_dtype(kind)
    try:
        with torch.device("meta"):
            found = load_model(tmp_path / "raft.pth", device="cpu")
    finally:
        torch.set_default_dtype(torch.float32)
    for (name, value), other in zip(found.state_dict().items(), expected.state_dict().values(), strict=True):
        assert value.dtype == other.dtype and torch.equal(value, other), name
    assert all(buffer.device.type == "cpu" for buffer in found.buffers())


def test_a_file_that_does_not_fit_is_described_in_its_own_names(tmp_path: Path) -> None:
    weights = their_weights()
    del weights["update_block.flow_head.conv1.bias"]
    weights["update_block.flow_head.conv3.bias"] = torch.zeros(2)
    weights["feature_encoder.conv.bias"] = torch.zeros(7)
    torch.save(weights, tmp_path / "other.pth")
    text = refusal(RequestError, tmp_path / "other.pth")
    for part in ("other.pth", "flow_head.conv1.bias", "flow_head.conv3.bias", "feature_encoder.conv.bias", "small"):
        assert part in text


def wrapped(weights: dict[str, Tensor]) -> dict[str, tuple[dict[str, Any], str | None]]:
    """The weights as training programs keep them, and what is said to be left out."""
    prefixed = {f"module.{name}": value for name, value in weights.items()}
    other = {name: torch.zeros_like(value) for name, value in weights.items()}
    parts = {
        name.replace("conv.", "_orig_mod.conv.").replace("block.", "block.module."): weights[name] for name in weights
    }
    lightning = {f"model.{name}": value for name, value in weights.items()} | {"loss.weight": torch.ones(3)}
    both = {f"model.{name}": value for name, value in other.items()}
    both |= {f"ema_model.{name}": value for name, value in weights.items()}
    uncounted = {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}
    return {
        "AveragedModel": ({"n_averaged": torch.tensor(7), **prefixed}, r"left out: 1 \(n_averaged\)"),
        "state_dict_ema": ({"state_dict": other, "state_dict_ema": weights, "epoch": 3}, "state_dict_ema is read"),
        "params_ema": ({"params_ema": weights, "params": other}, "params_ema is read"),
        "params": ({"params": weights}, None),
        "net": ({"net": prefixed, "acc": 0.5, "epoch": 3}, None),
        "ema without weights": ({"model": weights, "ema": {"decay": 0.99}}, None),
        "nested": ({"model": {"state_dict": prefixed}}, None),
        "one stray name": ({**weights, "loss.weight": torch.ones(3)}, r"left out: 1 \(loss\.weight\)"),
        "Lightning": ({"state_dict": lightning, "epoch": 3}, r"left out: 1 \(loss\.weight\)"),
        "wrapped inside": (parts, None),
        "an unknown prefix": ({f"raft.net.{name}": value for name, value in weights.items()}, None),
        "two networks": (both, r"left out: \d+ \(model\."),
        "uncounted batches": (uncounted, None),
        "an epoch among them": ({**weights, "epoch": 3}, "left out: epoch"),
    }


@pytest.mark.parametrize("kind", wrapped({}))
def test_the_network_is_found_in_whatever_wraps_it(tmp_path: Path, kind: str) -> None:
    weights = {name: torch.rand_like(value.float()).to(value.dtype) for name, value in their_weights().items()}
    content, said = wrapped(weights)[kind]
    torch.save(content, tmp_path / "kept.pth")
    torch.save(weights, tmp_path / "plain.pth")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        network = load_model(tmp_path / "kept.pth", device="cpu")
    assert len(caught) == (said is not None)
    assert said is None or re.search(said, str(caught[0].message))
    assert same_weights(network, dict(load_model(tmp_path / "plain.pth", device="cpu").state_dict()))


def test_batches_that_were_not_counted_do_not_count(tmp_path: Path) -> None:
    config = NetworkConfig("large", "seq_conv_gru")
    weights = from_our_names(our_weights(config), "princeton", config)
    kept = {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}
    assert len(kept) < len(weights)
    torch.save(kept, tmp_path / "kept.pth")
    torch.save(weights, tmp_path / "plain.pth")
    expected = dict(load_model(tmp_path / "plain.pth", device="cpu").state_dict())
    assert same_weights(load_model(tmp_path / "kept.pth", device="cpu"), expected)


def test_two_weights_of_one_name_are_refused(tmp_path: Path) -> None:
    weights = their_weights()
    name = next(iter(weights))
    torch.save({**weights, f"module.{name}": weights[name]}, tmp_path / "twice.pth")
    assert f"holds two weights called {name!r}" in refusal(RequestError, tmp_path / "twice.pth")


def test_two_namings_in_one_file_are_refused(tmp_path: Path) -> None:
    ours = our_weights(SMALL)
    mixed = {name: value for name, value in ours.items() if not name.startswith("feature_encoder.")}
    mixed |= {name: value for name, value in their_weights().items() if name.startswith("feature_encoder.")}
    torch.save(mixed, tmp_path / "mixed.pth")
    refusal(RequestError, tmp_path / "mixed.pth")


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.bias": torch.zeros(1000)}, tmp_path / "resnet.pth")
    assert "conv1.weight" in refusal(RequestError, tmp_path / "resnet.pth")


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    weights = their_weights()
    weights["update_block.flow_head.conv2.bias"][1] = float("nan")
    torch.save(weights, tmp_path / "diverged.pth")
    assert "update_block.flow_head.conv2.bias" in refusal(RequestError, tmp_path / "diverged.pth")


@pytest.mark.parametrize(
    ("card", "parts"),
    [
        (card_of(operator="conv_min_gruu"), ("conv_min_gruu", "did you mean 'conv_min_gru'")),
        (card_of(preset="tiny"), ("tiny", "compact")),
        ({"network": {"preset": "compact"}}, ("operator",)),
        ({"network": "compact"}, ("operator", "preset")),
        ({"network": {"preset": ["compact"], "operator": 3}}, ("compact",)),
        (card_of(operator="conv_gru"), ("conv_gru", "operator.")),
    ],
    ids=["operator", "preset", "half", "text", "types", "another network's weights"],
)
def test_a_card_that_does_not_make_sense_is_refused(
    card: dict[str, Any], parts: tuple[str, ...], tmp_path: Path
) -> None:
    write_model_file(tmp_path / "mine.safetensors", our_weights(COMPACT), card)
    text = refusal(RequestError, tmp_path / "mine.safetensors")
    assert "mine.safetensors" in text
    for part in parts:
        assert part in text


def test_only_rafts_networks_have_other_names() -> None:
    with pytest.raises(RequestError, match="conv_min_gru"):
        from_our_names(our_weights(COMPACT), "torchvision", COMPACT)


def test_the_naming_is_recognised() -> None:
    ours = our_weights(SMALL)
    assert naming_of(ours) == "flowgru"
    assert naming_of(their_weights()) == "torchvision"
    assert naming_of(from_our_names(ours, "princeton", SMALL)) == "princeton"
    assert naming_of({"conv1.weight": torch.zeros(1)}) is None
    assert naming_of({}) is None


def test_a_missing_file_is_named_with_the_nearest_name(tmp_path: Path) -> None:
    assert "absent.pth" in refusal(RequestError, tmp_path / "absent.pth")
    assert "did you mean 'raft_small'" in refusal(RequestError, "raft-small")


def test_the_default_is_the_bundled_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = tmp_path / "default.safetensors"
    monkeypatch.setattr(loading, "DEFAULT_MODEL", bundled)
    assert str(bundled) in refusal(RequestError, "default")
    write_model_file(bundled, our_weights(COMPACT), card_of())
    assert load_model(device="cpu").config == COMPACT


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(RequestError, match="gpu"):
        choose_device("gpu")
    with pytest.raises(MachineError, match=r"cuda:63.*\bcpu"):
        choose_device("cuda:63")


@pytest.mark.parametrize(
    "name, rank, expected", [("cuda", "3", "cuda:3"), ("cuda", None, "cuda:0"), ("cuda:1", "3", "cuda:1")]
)
def test_a_process_tries_its_own_gpu_and_no_other(monkeypatch, name, rank, expected) -> None:
    tried = []
    monkeypatch.setattr(torch, "zeros", lambda *_, device: tried.append(str(device)))
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert choose_device(name) == torch.device(name) and tried == [expected]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_asked_for_but_absent_is_an_error() -> None:
    with pytest.raises(MachineError, match="cuda"):
        choose_device("cuda")


def test_a_model_file_keeps_the_operators_width(tmp_path):
    network = FlowNetwork(NetworkConfig("compact", "conv_gru", hidden_size=24))
    card = {"network": asdict(network.config)}
    write_model_file(tmp_path / "narrow.safetensors", network.state_dict(), card)
    assert load_model(tmp_path / "narrow.safetensors").config == network.config


@pytest.mark.parametrize(
    "network, complaint",
    [
        ({"hidden_size": -4}, "says hidden_size -4: expected 1 to 4096"),
        ({"hidden_size": "wide"}, 'says hidden_size "wide"'),
        ({"options": [1]}, r"says options \[1\]: expected a mapping"),
        ({"options": {"colour": 1}}, "names an operator that cannot be made: conv_gru has no option 'colour'"),
    ],
)
def test_a_card_that_asks_for_an_operator_that_cannot_be_is_refused(tmp_path, network, complaint):
    weights = FlowNetwork(NetworkConfig("compact", "conv_gru")).state_dict()
    card = {"network": {"preset": "compact", "operator": "conv_gru"} | network}
    write_model_file(tmp_path / "odd.safetensors", weights, card)
    with pytest.raises(RequestError, match=complaint):
        load_model(tmp_path / "odd.safetensors")
