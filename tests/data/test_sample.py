"""The bundled sample clip: small, exact, and made by the script that says so."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from paths import ROOT

from flowgru.data.formats.flow_files import read_flow
from flowgru.data.formats.images import read_image
from flowgru.data.synthetic.clip import render_clip
from flowgru.grid import backward_warp

SAMPLE = ROOT / "datasets" / "sample"


@pytest.fixture(scope="module")
def clip():
    spec = importlib.util.spec_from_file_location("make_sample", Path(__file__).with_name("make_sample.py"))
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return render_clip(script.SETTINGS, script.INDEX, script.NUM_FRAMES)


def test_the_files_are_what_the_script_makes(clip):
    assert len(list(SAMPLE.glob("*/*"))) == len(clip.frames) + len(clip.flows)
    for number, frame in enumerate(clip.frames, start=1):
        stored = read_image(SAMPLE / "frames" / f"frame_{number:04d}.png").astype(int)
        made = (frame * 255).permute(1, 2, 0).numpy()
        assert np.abs(stored - made).max() < 1.01  # another machine's last bit may round a level the other way
    for number, flow in enumerate(clip.flows, start=1):
        stored = read_flow(SAMPLE / "flow" / f"frame_{number:04d}.png")
        assert stored.valid.all()
        # Where two layers' coverage ties, another machine may put the other one on top.
        apart = np.abs(stored.flow - flow.permute(1, 2, 0).numpy()).max(axis=2) > 1 / 64  # the step of 16-bit PNG
        assert apart.mean() < 1e-3


def test_it_stays_under_a_megabyte():
    assert sum(path.stat().st_size for path in SAMPLE.glob("*/*")) < 1_000_000


def test_warping_the_next_frame_by_the_flow_gives_the_frame(clip):
    for first, second, flow in zip(clip.frames, clip.frames[1:], clip.flows, strict=False):
        right, wrong = (
            (torch.where(inside, (warped - first[None]).abs().mean(1), 0).sum() / inside.sum()).item()
            for warped, inside in (backward_warp(second[None], flow[None]), backward_warp(second[None], -flow[None]))
        )
        assert right < 0.02 < 4 * right < wrong
