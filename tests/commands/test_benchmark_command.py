"""`flowgru benchmark` measures every combination of its settings, the user's own clip and the operators."""

import itertools
import json
import subprocess
import sys
from dataclasses import asdict

import pytest
import torch
from media import moving_frames, write_clip
from tables import STATED

from flowgru.benchmarking.cases import Benchmark
from flowgru.cli import main
from flowgru.config import NetworkConfig
from flowgru.data.formats.images import write_image
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.model_file import write_model_file

pytestmark = pytest.mark.timeout(1800)  # of some, most is the start of processes, which a busy machine draws out


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    torch.manual_seed(0)
    network = FlowNetwork(NetworkConfig("compact", "conv_min_gru", hidden_size=8)).eval()
    with torch.no_grad():
        for parameter in network.flow_head.parameters():
            parameter *= 0.1
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    write_model_file(path, network.state_dict(), {"network": asdict(network.config)})
    return str(path)


def test_every_combination_of_the_settings_is_a_case_against_the_first(model, tmp_path, capsys):
    words = f"benchmark --model {model} --size 40x48 --iterations 1,2 --correlation all_pairs,on_demand --no-memory"
    words += f" --frames 3 --rounds 1 --threads 1 --json {tmp_path / 'result.json'}"
    assert main(words.split()) == 0
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["conditions"].keys() >= STATED and found["conditions"]["size"] == "40x48 px (height x width)"
    cases = [(row["refinements"], row["correlation"]) for row in found["rows"]]
    assert cases == [*itertools.product((1, 2), ("all_pairs", "on_demand"))]
    differences = [row["mean difference from the first's flow, px"] for row in found["rows"]]
    assert differences[0] is None and differences[1] < 1e-5 < differences[2]
    assert all(row["s a pair"] > 0 and row["video, frames/s"] > 0 for row in found["rows"])
    printed = capsys.readouterr().out
    assert "### Models and settings" in printed and printed.count("\n| /") == 4


def test_the_peak_of_memory_is_that_of_a_process_of_its_own(model, tmp_path, capsys):
    words = f"benchmark --model {model} --size 40x48 --iterations 1 --frames 2 --rounds 1 --json {tmp_path / 'a.json'}"
    ballast = torch.ones(2**28)  # 1 GiB, which a measurement in this process would see
    assert main(words.split()) == 0
    (row,) = json.loads((tmp_path / "a.json").read_text())["rows"]
    assert 100 < row["peak MiB"] < 1000 and ballast[0] == 1


def test_the_users_own_clip_is_measured_at_its_own_size_or_another(model, tmp_path, capsys):
    (tmp_path / "clip").mkdir()
    for number in range(5):
        picture = (torch.rand(24, 40, 3) * 255).byte().numpy()
        write_image(tmp_path / "clip" / f"{number}.png", picture)
    for size, expected in (("", "24x40"), (" --size 32x48", "32x48")):
        words = f"benchmark --model {model} --clip {tmp_path / 'clip'} --iterations 1 --no-memory --frames 3 --rounds 1"
        assert main((words + size).split()) == 0
        assert f"size: {expected} px" in (out := capsys.readouterr().out) and "video: 3 frames of" in out


def test_operators_are_listed_with_parameters_and_time_of_a_step(tmp_path, capsys):
    words = ["benchmark", "--operators", "min_gru,conv_min_gru form=cand", "--size", "16x24", "--preset", "small"]
    assert main([*words, "--rounds", "1", "--json", str(tmp_path / "a.json")]) == 0
    found = json.loads((tmp_path / "a.json").read_text())
    assert [row["operator"] for row in found["rows"]] == ["seq_conv_gru", "min_gru", "conv_min_gru form=cand"]
    assert found["rows"][0]["parameters"] == 697_536 and all(row["ms per step"] > 0 for row in found["rows"])
    assert found["conditions"].keys() >= STATED


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--size 40", 2, "--size is '40': expected HEIGHTxWIDTH"),
        ("--iterations 0", 2, "--iterations is 0: it must be 1 or more"),
        ("--frames 1", 2, "--frames is 1: it must be 2 or more"),
        ("--precision 31", 2, "--precision is '31': expected a list, each entry one of 32, bf16, 16"),
        ("--operators conv_gro", 2, "there is no 'conv_gro': did you mean 'conv_gru'? known are all, conv_gru, seq_"),
        ("--model nothing.pth --frames 2 --size 16x16", 2, "there is no model file nothing.pth"),
        ("--clip nothing.mp4", 3, "nothing.mp4"),
        ("--overwrite", 2, "--overwrite has no effect without --json"),
        ("--json {folder} --overwrite", 2, "is a folder: name a file, such as"),
        ("--json {taken}", 2, "exists already: give --overwrite or another --json"),
    ],
)
def test_what_makes_no_sense_is_one_line(words, code, said, tmp_path, capsys):
    (tmp_path / "taken.json").write_text("precious")
    assert main(["benchmark", *words.format(taken=tmp_path / "taken.json", folder=tmp_path).split()]) == code
    assert said in (text := capsys.readouterr().err) and len(text.splitlines()) == 1
    assert (tmp_path / "taken.json").read_text() == "precious"


@pytest.mark.parametrize(
    ("place", "code", "said"),
    [
        ("taken.txt/b.json", 2, "--json taken.txt is a file: name a folder"),
        ("/proc/nowhere/b.json", 4, "cannot write /proc/nowhere/b.json: "),
    ],
)
def test_a_file_that_cannot_be_written_is_known_before_any_work(place, code, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Benchmark, "_cases", lambda _: pytest.fail("work was begun"))
    (tmp_path / "taken.txt").write_text("precious")
    assert main(["benchmark", "--json", place]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line and "another --output" not in line


def test_several_clips_are_refused_by_name(model, tmp_path, capsys):
    for name in ("a", "b"):
        write_clip(tmp_path / f"{name}.mp4", moving_frames(2))
    words = ["--model", model, "--iterations", "1", "--rounds", "1", "--no-memory", "--frames", "2"]
    assert main(["benchmark", "--clip", f"{tmp_path}/*.mp4", *words]) == 2
    assert "got 2 clips (a, b): expected one clip, so name it alone" in capsys.readouterr().err


def test_help_needs_no_torch():
    code = "import sys; from flowgru.cli import main; main(['benchmark', '--help']); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--operators", "all", "--iterations", "3"],
            "--iterations has no effect here: --operators measures steps alone",
        ),
        (["--preset", "small"], "--preset has no effect here: it belongs to --operators"),
    ],
)
def test_an_option_without_effect_is_refused(words, said, capsys):
    assert main(["benchmark", *words]) == 2
    assert said in capsys.readouterr().err
