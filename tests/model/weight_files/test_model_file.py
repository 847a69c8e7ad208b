"""Files of weights and their cards come back bit for bit, and what a network cannot take is refused."""

import json
import os
import struct
from pathlib import Path

import pytest
import torch
from checkpoint_content import CARD, WEIGHTS, refusal, same
from safetensors.torch import save_file
from torch import nn

from flowgru.errors import MachineError, RequestError
from flowgru.model.weight_files.model_file import describe_mismatch, read_weights, write_model_file


def test_weights_and_card_come_back_bit_for_bit(tmp_path):
    path = tmp_path / "m.safetensors"
    write_model_file(path, WEIGHTS, CARD)
    weights, card = read_weights(path)
    assert same(weights, WEIGHTS)
    assert card == CARD
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_views_strides_parameters_and_shared_memory_are_written(tmp_path):
    base = torch.randn(4, 6)
    weights = {"a": base.t(), "b": base[:2], "c": base, "d": nn.Parameter(base)}
    weights["e"] = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    write_model_file(tmp_path / "m.safetensors", weights, {})
    assert same(read_weights(tmp_path / "m.safetensors")[0], {name: value.detach() for name, value in weights.items()})


@pytest.mark.parametrize("length", range(0, 800, 8))
def test_a_header_of_any_length_is_recognised(tmp_path, length):
    # The header's length is the file's first byte, which may be that of a pickle.
    save_file({"a": torch.ones(1)}, tmp_path / "m.safetensors", {"x": "y" * length})
    assert read_weights(tmp_path / "m.safetensors")[1] is None


def test_an_existing_file_stays_without_overwrite(tmp_path):
    path = tmp_path / "m.safetensors"
    write_model_file(path, WEIGHTS, CARD)
    before = path.read_bytes()
    with pytest.raises(RequestError, match="exists already"):
        write_model_file(path, WEIGHTS, {})
    assert path.read_bytes() == before
    write_model_file(path, WEIGHTS, {}, overwrite=True)
    assert read_weights(path)[1] == {}


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    write_model_file(path, WEIGHTS, CARD)

    def full(*_inputs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MachineError, match="No space left"):
        write_model_file(path, {"a": torch.ones(1)}, {}, overwrite=True)
    assert same(read_weights(path)[0], WEIGHTS)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_written(tmp_path, value):
    with pytest.raises(RequestError, match="bad is not finite"):
        write_model_file(tmp_path / "m.safetensors", {"good": torch.ones(2), "bad": torch.tensor([1.0, value])}, {})
    assert not list(tmp_path.iterdir())


def test_the_header_of_our_file_is_plain_safetensors(tmp_path):
    path = tmp_path / "m.safetensors"
    write_model_file(path, WEIGHTS, CARD)
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    assert json.loads(header["__metadata__"]["flowgru_card"]) == CARD


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000])
def test_a_card_that_is_no_json_object_is_refused(tmp_path, text):
    save_file({"a": torch.ones(1)}, tmp_path / "m.safetensors", {"flowgru_card": text})
    with pytest.raises(RequestError, match=r"the card of .*m\.safetensors is"):
        read_weights(tmp_path / "m.safetensors")
    assert "the card of" in refusal(tmp_path / "m.safetensors")


@pytest.mark.parametrize(("kind", "length"), [("C64", 8), ("F8_E8M0", 1)])
def test_numbers_that_no_network_is_made_of_are_refused(tmp_path, kind, length):
    header = json.dumps({"a": {"dtype": kind, "shape": [1], "data_offsets": [0, length]}}).encode()
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(length))
    assert "expected weights in floating point" in refusal(tmp_path / "m.safetensors")


def test_a_name_with_control_characters_is_refused(tmp_path):
    save_file({"a\x1b[2J\nb": torch.ones(1)}, tmp_path / "m.safetensors")
    assert "expected letters, digits and dots" in refusal(tmp_path / "m.safetensors")


def test_a_file_that_may_not_be_read_is_the_machines_refusal(tmp_path, monkeypatch):
    write_model_file(tmp_path / "m.safetensors", WEIGHTS, CARD)

    def denied(*_inputs, **_named):  # a fake, for root may read everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(MachineError, match="Permission denied"):
        read_weights(tmp_path / "m.safetensors")


def test_a_mismatch_is_listed_by_kind():
    expected = {"a": torch.ones(2, 3), "b": torch.ones(4), "c": torch.ones(1, device="meta")}
    assert describe_mismatch(expected, {"a": torch.ones(2, 3), "b": torch.ones(4), "c": torch.ones(1)}) is None
    got = {"a": torch.ones(3, 2), "b": torch.ones(4), "d": torch.ones(5)}
    assert describe_mismatch(expected, got) == (
        "1 missing (c); 1 unexpected (d); 1 of another shape (a is [3, 2], expected [2, 3])"
    )


def test_a_long_mismatch_shows_ten_names_and_counts_all():
    said = describe_mismatch({f"w{i}": torch.ones(1) for i in range(12)}, {})
    assert said == "12 missing (w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, ...)"
