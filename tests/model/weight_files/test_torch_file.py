"""A checkpoint that torch.save wrote gives its weights; nothing that a foreign one holds is run, unpacked or believed."""

import io
import os
import pickle
import tarfile
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from checkpoint_content import WEIGHTS, refusal, same
from torch import nn

from flowgru.model.weight_files.model_file import read_weights


class TouchesAFile:
    """Unpickling it would create the file, as an attacker's code would."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


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
    assert card is None


AVERAGE = {name: value + 1 for name, value in WEIGHTS.items()}


@pytest.mark.parametrize(
    "content",
    [
        {"model": WEIGHTS, "ema_model": AVERAGE},
        {"ema_weights": AVERAGE, "state_dict": WEIGHTS},
        {"state_dict": WEIGHTS, "ema": {"decay": 0.99, "shadow": AVERAGE}},
        {"model": WEIGHTS, "ema_model_state_dict": {"module." + name: value for name, value in AVERAGE.items()}},
    ],
)
def test_a_moving_average_goes_before_the_weights(content, tmp_path):
    torch.save(content, tmp_path / "m.pth")
    with pytest.warns(UserWarning, match="is read"):
        assert same(read_weights(tmp_path / "m.pth")[0], AVERAGE)


@pytest.mark.parametrize("other", [AVERAGE, {"decay": 0.99, "inside": AVERAGE}, [*AVERAGE.values()]])
def test_another_copy_of_the_weights_that_is_not_read_is_named(other, tmp_path):
    optimizer = {"state": {0: {"m": torch.ones(4, 3, 3, 3)}}, "lr": 0.1}
    torch.save({"model": WEIGHTS, "mine": other, "optimizer": optimizer, "epoch": 3}, tmp_path / "m.pth")
    with pytest.warns(UserWarning, match=r"m\.pth holds weights under mine, too, which are not read$"):
        assert same(read_weights(tmp_path / "m.pth")[0], WEIGHTS)


def test_what_is_read_and_the_state_of_an_optimizer_are_no_other_copy(tmp_path):
    states = ({"momentum": AVERAGE, "step": 3}, {"state": dict(enumerate(AVERAGE.values()))})
    for content in (WEIGHTS, *({"model": WEIGHTS, "optimizer": state, "optim_g": state} for state in states)):
        torch.save(content, tmp_path / "m.pth")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert same(read_weights(tmp_path / "m.pth")[0], WEIGHTS)


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


def test_a_file_without_the_values_of_its_tensors_is_refused(tmp_path):
    """In the format before zip they lie at the end; torch takes the memory for them, and says nothing where they lack."""
    path = tmp_path / "m.pth"
    torch.save({"a": torch.ones(2**20)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    keys = content.rindex(b"\x80\x02]", 0, 2000)
    path.write_bytes(content[:keys] + pickle.dumps([], protocol=2))
    assert torch.load(path, weights_only=True)["a"].shape == (2**20,)
    assert "its tensors have 4194304 bytes, the whole file " in refusal(path)


def test_tensors_that_share_their_values_are_counted_once(tmp_path):
    values = torch.arange(1000.0)
    torch.save({"a": values, "b": values[:500], "c": values.view(10, 100)}, tmp_path / "m.pth")
    assert same(read_weights(tmp_path / "m.pth")[0], {"a": values, "b": values[:500], "c": values.view(10, 100)})


def test_a_torch_file_is_read_whatever_its_name_ends_with(tmp_path):
    torch.save(WEIGHTS, tmp_path / "m.safetensors")
    assert same(read_weights(tmp_path / "m.safetensors")[0], WEIGHTS)


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
