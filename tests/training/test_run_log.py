"""The log of a run: JSON whatever happens, the same after a stop, and no reason to end."""

import errno
import io
import json
import math
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_run import TINY, log_lines

from flowgru import console as progress
from flowgru.config import OptimizerConfig
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.model.flow_network import FlowNetwork
from flowgru.training import board, engine, run_log, step
from flowgru.training.run import train
from flowgru.training.run_log import RunLog
from flowgru.training.step_times import StepKind


def test_a_log_that_cannot_be_written_does_not_end_the_run(tmp_path, monkeypatch, capsys):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    for module in (board, run_log):
        monkeypatch.setattr(module, "open_to_append", full)
    train(replace(TINY, steps=2), str(tmp_path), device="cpu")
    assert (tmp_path / "model.safetensors").exists()
    assert capsys.readouterr().out.count("training goes on without") == 1


def test_the_rate_of_a_step_is_the_one_that_it_was_made_at(tmp_path):
    settings = OptimizerConfig(schedule="constant", learning_rate=0.001, warmup_steps=2, decay_steps=2)
    train(replace(TINY, optimizer=settings, steps=4), str(tmp_path), device="cpu")
    found = [line["learning_rate"] for line in log_lines(tmp_path) if "loss" in line]
    assert found == pytest.approx([0.0005, 0.001, 0.001, 0.0005])


def test_a_damaged_line_of_the_log_is_dropped_and_does_not_end_the_run(tmp_path):
    (tmp_path / "log.jsonl").write_bytes(b'{"step": 1, "loss": 2.0}\n{"step\xff": 2, "loss": 1.0}\n')
    log = RunLog(tmp_path, 1)
    log.begin(2, 4, passed_over=[])
    log.close()
    assert log_lines(tmp_path) == [{"step": 1, "loss": 2.0}]


def test_lines_that_nobody_reads_any_more_do_not_end_the_run(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as unread:
        monkeypatch.setattr(sys, "stdout", unread)
        with progress.lines_over_bar(2) as (console, _):
            console.print("step 1")
            console.print("step 2")


def test_the_log_is_json_also_without_errors_that_are_numbers(tmp_path):
    log = RunLog(tmp_path, 2)
    log.begin(0, 200_000, passed_over=[])
    for number, error in enumerate((math.nan, 3.0, math.nan, math.nan), 1):
        log.step(number, 1.0, error, 1e-4, 0.0, 1.0)
    log.validation(4, {"synthetic": {1: math.inf}})
    log.close()
    lines = [json.loads(line, parse_constant=pytest.fail) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line.get("epe_per_image") for line in lines] == [3.0, None, None]
    assert lines[2]["validation_epe_per_image"] == {"synthetic": {"1": None}}


def test_the_remaining_time_may_be_days(tmp_path, capsys):
    log = RunLog(tmp_path, 1)
    log.begin(0, 200_001, passed_over=[])
    log.step(1, 1.0, 1.0, 1e-4, 0.0, 1.0)
    assert "remaining 2 days, 7:33:20" in capsys.readouterr().out


@pytest.mark.parametrize("every", [4, 5])
def test_a_stop_between_two_lines_of_the_log_changes_neither(tmp_path, monkeypatch, every):
    calls = []

    def numbers(fabric, network, run, config, batch, asked):
        calls.append(run.step)
        if len(calls) == 7 + 4:  # in the second run, after 3 of 7 steps and before step 4
            raise KeyboardInterrupt
        loss = 1 / (3 + run.step)
        return step.TakenStep(lambda: step.StepResult(loss, 2 * loss, (), None))

    monkeypatch.setattr(engine, "training_step", numbers)
    config = replace(TINY, steps=7, log_every=every, checkpoint_every=3)
    train(config, str(tmp_path / "whole"), device="cpu")
    with pytest.raises(KeyboardInterrupt):
        train(config, str(tmp_path / "cut"), device="cpu")
    train(config, str(tmp_path / "cut"), device="cpu")
    assert calls == [*range(7), *range(4), *range(3, 7)]
    assert log_lines(tmp_path / "cut") == log_lines(tmp_path / "whole")


def test_a_set_is_padded_in_the_pictures_of_the_log_as_in_its_errors(tmp_path):
    network, padded = FlowNetwork(TINY.network), []
    network.register_forward_pre_hook(lambda _, __, options: padded.append(options.get("padding")), with_kwargs=True)
    pair = SyntheticPairs(replace(TINY.data, height=129), length=1)[0]
    log = RunLog(tmp_path, 1)
    log.begin(0, 1, passed_over=[])
    for name in ("kitti2015", "sintel_clean"):
        log.picture(1, name, pair, network, 1)
    log.close()
    assert padded == ["kitti", "sintel"]


class Terminal(io.StringIO):
    """What a terminal would be sent."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_every_step_below_the_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_FRAMES", 0.0)
    shown = sys.stdout
    with progress.lines_over_bar(200) as (console, show):
        log = RunLog(tmp_path, 100, console, show)
        log.begin(0, 200, passed_over=[])
        log.step(1, 0.5, 1.25, 1e-4, 0.5, 2.0)
        log.close()
    assert isinstance(shown, Terminal)
    text = "loss 0.500  EPE per image 1.250 px  0.50 steps/s  waiting for data 25%  remaining 0:06:38"
    assert "1/200" in shown.getvalue() and text in shown.getvalue()


def test_links_in_a_run_folder_are_not_written_through(tmp_path, capsys):
    """A folder of another's making may lead elsewhere."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "file").write_text("mine")
    for number, name in enumerate(("log.jsonl", "tensorboard", "log.tmp")):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        (folder / "log.jsonl").write_text('{"step": 1}\n')
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(mine if name == "tensorboard" else mine / "file")
        log = RunLog(folder, every=1)
        log.begin(1, 4, passed_over=[])
        log.step(2, 1.0, 1.0, 1e-4, 0.0, 1.0)
        log.close()
        warned = capsys.readouterr().out.count("warning: cannot write the log")
        assert warned == (0 if name == "log.tmp" else 1)
        assert [path.name for path in mine.iterdir()] == ["file"] and (mine / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "line", ["[" * 100_000, '{"step": ' + "[" * 500 + "]" * 500 + "}", "[1]", '{"step": "x"}', "1" * 9999]
)
def test_a_line_of_a_stranger_is_passed_over(tmp_path, line):
    (tmp_path / "log.jsonl").write_text(f'{{"step": 1, "loss": 2.0}}\n{line}\n')
    log = RunLog(tmp_path, 1)
    log.begin(2, 4, passed_over=[])
    log.close()
    assert log_lines(tmp_path) == [{"step": 1, "loss": 2.0}]


def events(folder: Path) -> list:
    """What TensorBoard reads in a run's folder, file by file."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    files = sorted((folder / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    return [event for path in files for event in LegacyEventFileLoader(str(path)).Load()]


def test_tensorboard_reads_what_was_said(tmp_path):
    log = RunLog(tmp_path, every=1)
    log.begin(0, 4, passed_over=[])
    log.step(1, 2.5, 1.5, 1e-4, 0.0, 1.0)
    log.validation(1, {"a\x1b[2J": {1: 3.5}})
    log.picture(1, "synthetic", SyntheticPairs(TINY.data)[0], FlowNetwork(TINY.network), iterations=1)
    log.close()
    found = events(tmp_path)
    assert (found[0].file_version, found[1].session_log.status, found[1].step) == ("brain.Event:2", 1, 1)
    values = {value.tag: value.simple_value for event in found for value in event.summary.value}
    (picture,) = [value.image for event in found for value in event.summary.value if value.HasField("image")]
    assert (picture.height, picture.width) == (3 * 128, 128)
    assert values["train/loss"] == 2.5 and values["train/epe_per_image"] == 1.5
    assert values["validation/a\\x1b[2J/epe_per_image_after_1"] == 3.5


def test_a_clock_that_was_put_back_hides_nothing_of_a_resumed_run_from_tensorboard(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for begins, now in ((0, 2_000_000_000.0), (1, 1_900_000_000.0)):
        monkeypatch.setattr(board.time, "time", lambda now=now: now)
        log = RunLog(tmp_path, every=1)
        log.begin(begins, 4, passed_over=[])
        for number in (begins + 1, begins + 2):
            log.step(number, 10.0 * begins + number, 1.5, 1e-4, 0.0, 1.0)
        log.close()
    shown = EventAccumulator(str(tmp_path / "tensorboard"))
    shown.Reload()
    assert [(one.step, one.value) for one in shown.Scalars("train/loss")] == [(1, 1.0), (2, 12.0), (3, 13.0)]


def test_a_disk_that_tensorboard_fills_ends_the_log_with_one_line(tmp_path, capfd, monkeypatch):
    """Its own writer leaves that to a thread, which prints a traceback."""
    log = RunLog(tmp_path, every=1)
    log.begin(0, 4, passed_over=[])

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(board.RecordWriter, "write", full)
    for number in (1, 2):
        log.step(number, 2.5, 1.5, 1e-4, 0.0, 1.0)
    log.close()
    said = capfd.readouterr()
    assert said.err == "" and said.out.count("warning: cannot write the log") == 1 and "No space left" in said.out
    assert len(log_lines(tmp_path)) == 1


def test_steps_in_which_a_graph_is_recorded_are_counted_apart(tmp_path):
    log = RunLog(tmp_path, 1)
    log.begin(0, 5, passed_over=[])
    steps: list[tuple[float, StepKind]] = [(9.0, "usual"), (4.0, "first"), (2.0, "usual"), (5.0, "recorded")]
    for number, (seconds, kind) in enumerate(steps, 1):
        log.step(number, 1.0, 1.0, 0.1, 0.0, seconds, kind)
    log.close()
    assert [line.get("first_steps") for line in run_log.read_log(tmp_path)] == [None, 1, None, None]
    assert [line.get("recorded_steps") for line in run_log.read_log(tmp_path)] == [None, None, None, 1]
    assert [step.kind for step in run_log.timed_steps(tmp_path)] == ["usual", "first", "usual", "recorded"]
    assert [step.seconds for step in run_log.timed_steps(tmp_path)] == pytest.approx([9.0, 4.0, 2.0, 5.0])
