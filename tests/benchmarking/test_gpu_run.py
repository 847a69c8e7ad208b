"""benchmarks/gpu_run.py ends in time, keeps what it has done, and goes on with it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from interpreter import killed_at_the_end
from paths import ROOT

OVER = "Not run to its end: the time was over"


@pytest.fixture
def started(script, monkeypatch, tmp_path):
    """Starts gpu_run.py on a machine that runs everything at once; the names, words and seconds of the parts that it ran.

    reasons: why parts do not run to their end, by name. rates: steps a second, by precision.
    graphs: whether any step is made with CUDA graphs.
    """
    output = tmp_path / "out"

    def start(*words, reasons=None, rates=None, graphs=True):
        gpu_run = script("gpu_run", "--output", output, "--minutes", 10, *words)
        monkeypatch.setattr(sys, "argv", sys.argv[: sys.argv.index("--threads")])
        ran = []

        def run(step, tables, log, seconds, folder, *, grace=0.0):
            ran.append((step.name, step.words, seconds))
            if "train" in step.words:
                run_folder = Path(step.words[step.words.index("--output") + 1])
                run_folder.mkdir(exist_ok=True)
                named = [word for word in rates or {} if word in step.words]
                rate = (rates or {})[named[0]] if named else 1.0
                if graphs or "--no-cuda-graph" in step.words:
                    (run_folder / "log.jsonl").write_text(json.dumps({"step": 1, "steps_per_second": rate}) + "\n")
            return (reasons or {}).get(step.name, "")

        monkeypatch.setattr(sys.modules["session"], "run", run)
        handler = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as ended:
            gpu_run.main()
        signal.signal(signal.SIGTERM, handler)
        return ended.value.code, ran, (output / "report.md").read_text()

    return start


def names(ran) -> list[str]:
    return [name for name, _, _ in ran]


def test_without_cuda_the_small_form_runs_and_says_so(started):
    code, ran, report = started("--what", "training", "--device", "cpu", rates={"bf16": 1.0, "32": 2.0})
    assert code == 0 and names(ran) == ["probe of bf16", "probe of 32", "training", "score"]
    assert "No CUDA device: the small form runs on the CPU" in report
    words = ran[2][1]
    assert words[words.index("--precision") + 1] == "32" and words[-2:] == ["--steps", "4"]


def test_on_a_gpu_the_kernels_are_tested_and_the_training_ends_in_time(started, monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "a GPU")
    code, ran, report = started("--what", "training", "--device", "cuda", rates={"bf16": 3.0, "32": 2.0})
    assert code == 0 and names(ran)[0] == "tests" and "a GPU" in report and "small form" not in report
    name, words, seconds = ran[4]
    minutes = float(words[words.index("--minutes") + 1])
    assert name == "training" and words[words.index("--precision") + 1] == "bf16"
    assert 7 < minutes < 8.5 and 60 * minutes <= seconds < 600 - 60  # what is left is for the score


def test_where_no_step_is_made_with_graphs_the_training_goes_without(started):
    options = {"rates": {"bf16": 3.0, "32": 2.0}, "graphs": False}
    code, ran, _ = started("--what", "training", "--device", "cpu", **options)
    probes = [f"probe of {precision}{graphs}" for precision in ("bf16", "32") for graphs in ("", " --no-cuda-graph")]
    assert code == 0 and names(ran) == [*probes, "training", "score"]
    assert "--no-cuda-graph" in ran[4][1]


@pytest.mark.parametrize("painting, ended, chosen", [(4.0, "", True), (2.0, "", False), (4.0, "exit code 1", False)])
def test_the_gpu_paints_the_pairs_where_that_is_faster_and_works(started, monkeypatch, painting, ended, chosen):
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "a GPU")
    probe = "probe of bf16, pairs painted on the GPU"
    rates = {"--generate-on": painting, "bf16": 3.0, "32": 2.0}
    code, ran, _ = started("--what", "training", "--device", "cuda", rates=rates, reasons={probe: ended})
    assert code == 0 and names(ran) == ["tests", "probe of bf16", "probe of 32", probe, "training", "score"]
    assert ("--generate-on" in ran[4][1]) == chosen


def test_a_training_that_was_stopped_goes_on_by_the_same_words(started):
    code, before, report = started("--what", "training", "--device", "cpu", reasons={"training": OVER})
    assert code == 1 and names(before)[-1] == "training" and "Not done: training." in report
    code, ran, report = started("--what", "training", "--device", "cpu")
    assert code == 0 and names(ran) == ["training", "score"] and ran[0][1] == before[-1][1]
    code, ran, report = started("--what", "training", "--device", "cpu")
    assert code == 0 and ran == [] and "score: done before" in report


def test_a_probe_that_its_time_ends_has_measured(started):
    code, ran, _ = started("--what", "training", "--device", "cpu", reasons={"probe of bf16": OVER})
    assert code == 0 and "training" in names(ran)


def test_another_run_is_trained_on_as_a_copy_that_ends_in_time(started, tmp_path):
    source = tmp_path / "long"
    for step in (700, 800):
        (source / f"step-{step:08d}").mkdir(parents=True)
    noted = {"precision": "bf16", "optimizer": {"schedule": "constant"}, "steps": 10**6}
    (source / "config.yaml").write_text(json.dumps(noted))
    before = sorted(source.rglob("*"))
    code, ran, _ = started("--what", "training", "--device", "cpu", "--continue", source, rates={"bf16": 2.0})
    assert code == 0 and names(ran) == ["probe of bf16", "training", "score"]
    words = ran[1][1]
    more = int(words[words.index("--steps") + 1]) - 800
    assert 0.8 * 2 * (0.88 * 600 - 25) <= more <= 0.8 * 2 * 0.88 * 600
    assert int(words[words.index("--optimizer.decay_steps") + 1]) == more // 2
    assert sorted(path.name for path in (tmp_path / "out/run").glob("step-*")) == ["step-00000800"]
    assert sorted(source.rglob("*")) == before


def test_benchmarks_that_are_done_are_not_run_again(started):
    code, before, _ = started("--what", "benchmarks", "--device", "cpu", reasons={"lookup": "Failed with exit code 1,"})
    assert code == 1 and {"operators", "scan", "lookup"} <= {*names(before)}
    code, ran, _ = started("--what", "benchmarks", "--device", "cpu")
    assert code == 0 and names(ran) == ["lookup"]


def test_a_study_gives_all_its_trainings_the_same_minutes(started, monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "a GPU")
    words = ("--what", "study", "--device", "cuda", "--operators", "conv_gru", "conv_min_gru", "--seeds", 2)
    _, ran, _ = started(*words, reasons={"study": OVER})
    study = ran[-1][1]
    assert study[study.index("--operators") + 1] == "conv_gru,conv_min_gru" and "[0, 1]" in study
    assert 0.9 * 10 * 0.7 / 4 < float(study[study.index("--minutes") + 1]) <= 10 * 0.7 / 4
    assert started(*words)[1][-1][1] == study


@pytest.mark.parametrize("words", [("--seeds", 2), ("--compile",), ("--operators", "conv_gru")])
def test_an_option_of_another_work_is_refused(script, tmp_path, monkeypatch, capsys, words):
    gpu_run = script("gpu_run", "--what", "training", "--output", tmp_path, "--minutes", 1, *words)
    monkeypatch.setattr(sys, "argv", sys.argv[: sys.argv.index("--threads")])
    with pytest.raises(SystemExit):
        gpu_run.main()
    assert f"{words[0]} is given: it is for --what " in capsys.readouterr().err


RUN = """
import signal, sys
from pathlib import Path
from session import Step, run
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
run(Step("part", ["-c", sys.argv[1]], writes_rows=False), sys.stdout, sys.stderr, 60, Path("."), grace=30)
"""

PART = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("saved", flush=True), sys.exit()))
print("begun", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    "number, said", [(signal.SIGTERM, "saved\n"), (signal.SIGKILL, "")], ids=["SIGTERM", "SIGKILL"]
)
def test_a_part_ends_with_what_has_started_it_and_saves_where_it_may(number, said):
    if number == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("no other system ends a process with the one that has started it")
    words = [sys.executable, "-c", RUN, PART]
    paths = {**os.environ, "PYTHONPATH": str(ROOT / "benchmarks")}
    with subprocess.Popen(words, env=paths, stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline() == "begun\n"
        runner.send_signal(number)
        last, _ = runner.communicate(timeout=30)  # which ends once nothing has the pipe open any more
    assert (runner.returncode, last) == (143 if said else -number, said)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_whole_training_that_is_killed_in_the_middle_goes_on(tmp_path, number):
    words = [sys.executable, ROOT / "benchmarks/gpu_run.py", "--what", "training", "--minutes", "15", "--device", "cpu"]
    words += ["--output", tmp_path / "out"]
    first = subprocess.Popen(words, stdout=subprocess.DEVNULL, start_new_session=True)
    with killed_at_the_end(first):
        while not [*(tmp_path / "out/run").glob("step-*")]:
            assert first.poll() is None
            time.sleep(0.2)
        first.send_signal(number)
        assert first.wait() in (0, 143, -number)
    second = subprocess.run(words, capture_output=True, text=True)
    assert second.returncode == 0, second.stdout + (tmp_path / "out/log.txt").read_text()
    assert "Weights, pair by pair" in (tmp_path / "out/report.md").read_text()
    steps = [json.loads(line)["step"] for line in (tmp_path / "out/run/log.jsonl").read_text().splitlines()]
    assert steps[-1] == 4 and (tmp_path / "out/run/model.safetensors").exists()
