"""Files of weights come back bit for bit, and nothing that a foreign file holds is run, unpacked or believed."""

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from flowgru.errors import MachineError, RequestError
from flowgru.model.weight_files.model_file import describe_mismatch, read_card, read_weights, write_model_file

WEIGHTS = {
    "feature.weight": torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0)),
    "feature.bias": torch.arange(4, dtype=torch.float16),
    "norm.num_batches_tracked": torch.tensor(7),
}
CARD = {"network": {"preset": "compact", "operator": "conv_gru"}, "note": "größer – 流れ", "seed": 0}


class TouchesAFile:
    """Unpickling it would create the file, as an attacker's code would."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


def refusal(path: Path) -> str:
    """The one line with which both readers refuse the file."""
    with pytest.raises(RequestError) as error:
        read_weights(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_weights_and_card_come_back_bit_for_bit(tmp_path):
    path = tmp_path / "m.safetensors"
    write_model_file(path, WEIGHTS, CARD)
    weights, card = read_weights(path)
    assert same(weights, WEIGHTS)
    assert card == CARD == read_card(path)
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
    assert read_card(path) == {}


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


def test_the_card_is_read_from_the_header_alone(tmp_path):
    path = tmp_path / "m.safetensors"
    write_model_file(path, {"a": torch.zeros(30_000_000 // 4)}, CARD)
    read = int(next(x for x in Path("/proc/self/io").read_text().splitlines() if x.startswith("rchar")).split()[1])
    assert read_card(path) == CARD
    after = int(next(x for x in Path("/proc/self/io").read_text().splitlines() if x.startswith("rchar")).split()[1])
    assert after - read < 1_000_000


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000])
def test_a_card_that_is_no_json_object_is_refused(tmp_path, text):
    save_file({"a": torch.ones(1)}, tmp_path / "m.safetensors", {"flowgru_card": text})
    with pytest.raises(RequestError, match=r"the card of .*m\.safetensors is"):
        read_card(tmp_path / "m.safetensors")
    assert "the card of" in refusal(tmp_path / "m.safetensors")


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "module._orig_mod.", "model.module."])
def test_torch_checkpoints_are_unwrapped(tmp_path, legacy, wrapper, prefix):
    content = {prefix + name: value for name, value in WEIGHTS.items()}
    if wrapper:
        content = {"epoch": 3, "optimizer": {"lr": 0.1, "m": torch.ones(3)}, wrapper: content}
    torch.save(content, tmp_path / "m.pth", _use_new_zipfile_serialization=not legacy)
    weights, card = read_weights(tmp_path / "m.pth")
    assert same(weights, WEIGHTS)
    assert card is None and read_card(tmp_path / "m.pth") is None


def test_a_prefix_that_not_all_names_carry_stays(tmp_path):
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "m.pth")
    assert read_weights(tmp_path / "m.pth")[0].keys() == {"module.a", "b"}


def test_plain_values_among_the_weights_are_left_out_and_named(tmp_path):
    torch.save({**WEIGHTS, "epoch": 3, "note": "best", "loss": 0.5}, tmp_path / "m.pth")
    with pytest.warns(UserWarning, match="values that are no tensors are left out: epoch, note, loss"):
        assert same(read_weights(tmp_path / "m.pth")[0], WEIGHTS)
    torch.save({"epoch": 3}, tmp_path / "m.pth")
    assert "holds no tensor, only epoch: expected a state dict" in refusal(tmp_path / "m.pth")


@pytest.mark.parametrize("name", ["two\nlines", 5])
def test_an_entry_that_is_no_named_tensor_is_named(tmp_path, name):
    torch.save({"a": torch.ones(1), name: 3}, tmp_path / "m.pth")
    assert f"holds a int under {name!r}: expected named tensors only" in refusal(tmp_path / "m.pth")


def test_a_dictionary_that_holds_itself_is_refused(tmp_path):
    content: dict = {}
    content["model"] = content
    torch.save(content, tmp_path / "m.pth")
    assert "holds a dict under 'model'" in refusal(tmp_path / "m.pth")


def test_lists_nested_to_exponential_size_are_refused_at_once(tmp_path):
    laughs = [torch.ones(1)]
    for _ in range(60):
        laughs = [laughs] * 10
    torch.save({"a": laughs}, tmp_path / "m.pth")
    assert "holds a list under 'a'" in refusal(tmp_path / "m.pth")


def test_a_torch_file_is_read_whatever_its_name_ends_with(tmp_path):
    torch.save(WEIGHTS, tmp_path / "m.safetensors")
    assert same(read_weights(tmp_path / "m.safetensors")[0], WEIGHTS)


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


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "(it is empty, 0 bytes)"),
        (b"\n <!DOCTYPE html><html><body>404</body></html>", "(it is an HTML page"),
        (b"\xef\xbb\xbf<HTML>" + b"x" * 3000, "(it is an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"hello", "(it is a text file)"),
        (b'{"error": "not found"}', "(it is a text file)"),
        (b"\x00\x01\x02", "(it is truncated after 3 bytes)"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "its beginning is neither"),
        (bytes(512), "its beginning is neither"),
        (struct.pack("<Q", 5000) + b'{"a":', "(it is truncated"),
    ],
)
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_what_is_no_checkpoint_is_called_by_its_name(tmp_path, content, said, suffix):
    path = tmp_path / f"m.{suffix}"
    path.write_bytes(content)
    assert f"{path} is not a checkpoint" in refusal(path) and said in refusal(path)
    with pytest.raises(RequestError, match="is not a checkpoint"):
        read_card(path)


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_a_file_cut_anywhere_is_refused(tmp_path, kind):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    if kind == "safetensors":
        write_model_file(whole, WEIGHTS, CARD)
    else:
        torch.save(WEIGHTS, whole, _use_new_zipfile_serialization=kind == "zip")
    data = whole.read_bytes()
    for length in [*range(1, 40), *range(40, len(data), 97), len(data) - 1]:
        cut.write_bytes(data[:length])
        said = refusal(cut)
        # The name of a kind of tensor, when cut, is that of a foreign object.
        assert "is not a" in said or (kind == "legacy" and "objects other than tensors" in said), length


def test_a_missing_file_a_folder_and_a_pipe_are_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "no.pth") == f"there is no file of weights {tmp_path / 'no.pth'}"
    assert refusal(tmp_path) == f"{tmp_path} is a folder: expected a file of weights"
    assert "is not a regular file" in refusal(tmp_path / "pipe")


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle", "nested"])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, how):
    path, planted = tmp_path / "m.pth", tmp_path / "planted"
    content = {
        "a": torch.ones(1),
        "state_dict": {"x": [TouchesAFile(planted)]} if how == "nested" else TouchesAFile(planted),
    }
    if how == "pickle":
        path.write_bytes(pickle.dumps({"a": TouchesAFile(planted)}, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how != "legacy")
    said = refusal(path)
    assert not planted.exists()
    assert "holds Python objects other than tensors (posix.system)" in said and "sandbox" in said
    assert "weights_only" not in said
    with path.open("rb") as file:  # the test itself can fail: this file is armed
        torch.load(file, weights_only=False) if how != "pickle" else pickle.load(file)
    assert planted.exists()


def test_a_whole_module_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "m.pth")
    assert "torch.nn.modules.linear.Linear" in refusal(tmp_path / "m.pth")


def test_a_torchscript_program_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("m/constants.pkl", b"")
    assert "TorchScript" in refusal(tmp_path / "m.pt")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    torch.save({"a": torch.zeros(1_000_000)}, tmp_path / "plain.pth")
    deflated = zipfile.ZipFile(tmp_path / "m.pth", "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, deflated:
        for name in plain.namelist():
            deflated.writestr(name, plain.read(name))
    assert torch.load(tmp_path / "m.pth", weights_only=True)["a"].shape == (1_000_000,)  # torch itself would unpack it
    monkeypatch.setattr(torch, "load", lambda *_a, **_k: pytest.fail("torch.load was called"))
    assert "expands to 4000" in refusal(tmp_path / "m.pth")


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_tensor_that_claims_more_than_the_file_holds_is_refused(tmp_path, legacy):
    huge = torch.ones(1).expand(10_000, 10_000, 10_000)
    torch.save({"a": huge}, tmp_path / "m.pth", _use_new_zipfile_serialization=not legacy)
    assert (tmp_path / "m.pth").stat().st_size < 3000
    assert "'a' of [10000, 10000, 10000] claims 4000000000000 bytes, the file holds 4 of them" in refusal(
        tmp_path / "m.pth"
    )


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_storage_that_claims_more_than_the_file_holds_is_refused(tmp_path, legacy):
    torch.save({"a": torch.ones(0x0101)}, tmp_path / "m.pth", _use_new_zipfile_serialization=not legacy)
    data = (tmp_path / "m.pth").read_bytes()
    claim, huge = pickle.dumps(0x0101, 2)[2:-1], b"\x8a\x06" + (10**12).to_bytes(6, "little")
    assert claim in data
    if legacy:
        (tmp_path / "m.pth").write_bytes(data.replace(claim, huge))
    else:
        with zipfile.ZipFile(tmp_path / "m.pth") as old, zipfile.ZipFile(tmp_path / "n.pth", "w") as new:
            for name in old.namelist():
                new.writestr(name, old.read(name).replace(claim, huge) if name.endswith(".pkl") else old.read(name))
        os.replace(tmp_path / "n.pth", tmp_path / "m.pth")
    assert "is not a readable checkpoint" in refusal(tmp_path / "m.pth")


@pytest.mark.parametrize("value", [torch.ones(2).to_sparse(), torch.ones(2, device="meta")], ids=["sparse", "meta"])
def test_tensors_without_plain_values_are_refused(tmp_path, value):
    torch.save({"a": value}, tmp_path / "m.pth")
    assert "expected a plain tensor" in refusal(tmp_path / "m.pth")


def test_a_tar_archive_is_refused_even_in_disguise(tmp_path):
    # torch unpacks the members of a tar archive by name, links included; the archive's first bytes are free to choose.
    with tarfile.open(tmp_path / "m.pth", "w") as archive:
        member = tarfile.TarInfo("\x02xstorages")
        archive.addfile(member, io.BytesIO())
    data = bytearray((tmp_path / "m.pth").read_bytes())
    assert "is not a checkpoint" in refusal(tmp_path / "m.pth")
    data[0] = 0x80
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    (tmp_path / "m.pth").write_bytes(data)
    assert tarfile.is_tarfile(tmp_path / "m.pth")
    assert "tar archive of torch before 0.2" in refusal(tmp_path / "m.pth")


def test_a_file_larger_than_the_limit_is_refused(tmp_path):
    with (tmp_path / "m.safetensors").open("wb") as file:
        file.truncate(5 * 2**30)
    assert "has 5.0 GiB: at most 4 GiB" in refusal(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([torch.ones(1)], "holds a list"),
        (torch.ones(1), "holds a Tensor"),
        ({"head": {}}, "holds a dict under 'head'"),
        ({}, "holds an empty dictionary"),
        ({"state_dict": {}}, "holds an empty dictionary"),
    ],
)
def test_a_checkpoint_without_weights_is_refused(tmp_path, content, said):
    torch.save(content, tmp_path / "m.pth")
    assert said in refusal(tmp_path / "m.pth")


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_damaged_bytes_give_a_refusal_or_plain_tensors(tmp_path_factory, kind):
    path = tmp_path_factory.mktemp(kind) / "m"
    if kind == "safetensors":
        write_model_file(path, WEIGHTS, CARD)
    else:
        torch.save(WEIGHTS, path, _use_new_zipfile_serialization=kind == "zip")
    data = path.read_bytes()
    damage = st.lists(st.tuples(st.integers(0, len(data) - 1), st.binary(min_size=1, max_size=4)), max_size=4)

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(damage)
    def check(damage: list[tuple[int, bytes]]) -> None:
        damaged = bytearray(data)
        for where, written in damage:
            damaged[where : where + len(written)] = written
        path.write_bytes(damaged)
        try:
            weights, _ = read_weights(path)
        except RequestError as error:
            assert damaged != data and "\n" not in str(error)
            return
        assert sum(value.numel() * value.element_size() for value in weights.values()) <= 3 * len(data)
        if damaged == data:
            assert same(weights, WEIGHTS)

    check()


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


def test_the_header_of_our_file_is_plain_safetensors(tmp_path):
    path = tmp_path / "m.safetensors"
    write_model_file(path, WEIGHTS, CARD)
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    assert json.loads(header["__metadata__"]["flowgru_card"]) == CARD
