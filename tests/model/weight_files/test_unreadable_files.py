"""A file of weights that is damaged, cut or none at all is refused in one line, whichever format it claims to have."""

import os
import struct
from pathlib import Path

import pytest
import torch
from checkpoint_content import CARD, WEIGHTS, refusal, same
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgru.errors import RequestError
from flowgru.model.weight_files.loading import load_model
from flowgru.model.weight_files.model_file import read_weights, write_model_file


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


def test_a_file_larger_than_the_limit_is_refused(tmp_path):
    with (tmp_path / "m.safetensors").open("wb") as file:
        file.truncate(5 * 2**30)
    assert "has 5.0 GiB: at most 4 GiB" in refusal(tmp_path / "m.safetensors")


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


def test_a_run_and_its_checkpoint_are_no_model_and_their_model_file_is_named(tmp_path):
    checkpoint, empty = tmp_path / "run" / "step-00000004", tmp_path / "empty"
    for folder in (checkpoint, empty):
        folder.mkdir(parents=True)
    for name in ("train.pt", "manifest.json", "model.safetensors"):
        (checkpoint / name).touch()

    def said(path: Path) -> str:
        with pytest.raises(RequestError) as error:
            load_model(path)
        return str(error.value).replace(str(tmp_path), "T")

    own = "T/run/step-00000004/model.safetensors"
    assert (
        said(checkpoint / "train.pt")
        == f"T/run/step-00000004/train.pt is the state of a training, no model: give {own}"
    )
    assert said(checkpoint) == f"T/run/step-00000004 is a folder, no model: give {own}"
    assert said(tmp_path / "run") == f"T/run is a folder, no model: give {own}"
    (tmp_path / "run" / "model.safetensors").touch()
    for path in (checkpoint / "train.pt", checkpoint, tmp_path / "run"):
        assert said(path).endswith("no model: give T/run/model.safetensors")
    written = "flowgru train writes model.safetensors when it ends"
    assert said(empty) == f"T/empty is a folder, no model: expected a model file; {written}"
