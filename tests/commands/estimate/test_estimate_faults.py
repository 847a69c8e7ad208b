"""What goes wrong around `flowgru estimate`: the disk, the memory, the device, a signal, a reader that is gone."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
import safetensors.torch
import torch
from estimates import SIZE, names, only_error
from media import moving_frames, write_clip

from flowgru.cli import main
from flowgru.data.formats.flow_files import read_flow
from flowgru.errors import MachineError
from flowgru.estimation.pair_files import PairToWrite
from flowgru.model.flow_network import FlowNetwork


def test_a_full_disk_is_the_machines_error(estimate, pair, output, capsys, monkeypatch):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", no_space)
    assert estimate(*pair) == 4
    assert "No space left on device" in only_error(capsys)
    assert not output.exists()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_lack_of_memory_is_explained(estimate, pair, output, capsys, monkeypatch, error):
    def no_memory(*_, **__):
        raise error

    monkeypatch.setattr(FlowNetwork, "match", no_memory)
    assert estimate(*pair) == 4
    assert "not enough memory" in only_error(capsys)
    assert not output.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_cuda_auto_computes_on_the_cpu_and_says_so(estimate, pair, output, capsys):
    assert estimate(*pair, "--device", "cuda") == 4
    assert "the device cuda cannot be used" in only_error(capsys)
    assert not output.exists()
    assert estimate(*pair, "--device", "auto") == 0
    assert "computing on the CPU: no CUDA device was found" in capsys.readouterr().err


SLOWLY = """
import sys, time
from flowgru.cli import main
from flowgru.model.flow_network import FlowNetwork
def match(*given, real=FlowNetwork.match, **options):
    time.sleep(0.3)
    return real(*given, **options)
FlowNetwork.match = match
sys.exit(main(sys.argv[1:]))
"""
"""The command at a pace at which it still works when a signal comes, however busy the machine is."""


@pytest.mark.parametrize(
    ("number", "code"),
    [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
)
def test_an_interrupted_run_leaves_whole_files_and_the_same_command_goes_on(
    model, tmp_path, output, capsys, number, code
):
    video = write_clip(tmp_path / "clip.mp4", moving_frames(16, *SIZE))
    words = ["estimate", str(video), "--output", str(output), "--model", model, "--iterations", "1", "--device", "cpu"]
    process = subprocess.Popen([sys.executable, "-c", SLOWLY, *words], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 200
    while not list(output.glob("frame_*.flo")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(number)
    said = process.communicate(timeout=200)[1]
    assert process.returncode == code, said
    assert "Traceback" not in said
    left = sorted(output.glob("frame_*.flo"))  # and not what was being written
    assert 1 <= len(left) < 15
    for path in left:
        assert read_flow(path).flow.shape[:2] == SIZE
    written = {path: path.stat().st_mtime_ns for path in left[:-1]}  # the last one may lack its line
    assert main(words) == 0
    assert "of this command already: going on after them" in capsys.readouterr().out or len(left) == 1
    assert names(output) == [*(f"frame_{number:06}.flo" for number in range(1, 16)), "summary.json"]
    assert written == {path: path.stat().st_mtime_ns for path in written}


@pytest.mark.slow
def test_work_goes_on_when_nobody_reads_the_output(model, pair, output):
    reading, writing = os.pipe()
    os.close(reading)
    words = ["estimate", *pair, "--output", str(output), "--model", model, "--iterations", "1", "--device", "cpu"]
    run = subprocess.run([sys.executable, "-m", "flowgru", *words], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert run.returncode == 0 and "Error" not in run.stderr and names(output) == ["a.flo", "summary.json"]


def test_an_output_folder_that_is_removed_meanwhile_is_the_machines_error(
    estimate, folder, output, capsys, monkeypatch
):
    """Flows that were written before would be missing beside those that are written into a new folder."""
    real, calls = FlowNetwork.match, []

    def match(self, *frames, **options):
        calls.append(1)
        if len(calls) == 3:
            shutil.rmtree(output)
        return real(self, *frames, **options)

    monkeypatch.setattr(FlowNetwork, "match", match)
    assert estimate(folder, "--no-overlap") == 4  # else a flow may be on its way while the folder goes
    assert f"{output} was removed while results were written into it" in capsys.readouterr().err
    assert not output.exists()


def test_a_card_with_numbers_that_are_not_finite_leaves_a_summary_that_others_read(
    model, estimate, pair, output, tmp_path
):
    weights = safetensors.torch.load_file(model)
    card = (
        '{"network": {"preset": "compact", "operator": "conv_min_gru"}, "iterations": 1, "error": NaN, "max": Infinity}'
    )
    safetensors.torch.save_file(weights, tmp_path / "nan.safetensors", {"flowgru_card": card})
    assert estimate(*pair, "--model", tmp_path / "nan.safetensors") == 0

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    summary = json.loads((output / "summary.json").read_text(), parse_constant=refuse)
    assert summary["card"]["error"] is None and summary["card"]["max"] is None


def test_a_disk_that_refuses_a_flow_ends_the_run_in_one_line_and_no_later_flow_is_written(
    estimate, folder, output, capsys, monkeypatch
):
    write, threads = PairToWrite.write, []

    def refusing(self, *places, **options):
        threads.append(threading.current_thread())
        if len(threads) == 3:
            raise MachineError("cannot write frame_3.flo: No space left on device")
        return write(self, *places, **options)

    with monkeypatch.context() as patch:
        patch.setattr(PairToWrite, "write", refusing)
        assert estimate(folder) == 4
    said = [line for line in capsys.readouterr().err.splitlines() if "pairs" not in line]
    assert said == [
        f"2 flows of this command in {output}: the same command goes on after them",
        "error: cannot write frame_3.flo: No space left on device",
    ]
    assert names(output) == ["estimate.jsonl", "frame_1.flo", "frame_2.flo"]
    assert len(threads) == 3 and threading.main_thread() not in threads
    assert estimate(folder) == 0
    assert "holds 2 flows of this command already" in capsys.readouterr().out
