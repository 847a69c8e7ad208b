"""The pairs of a clip begin where the pair before leads or at an initial flow, of which each tile has its part."""

import numpy as np
import torch
from estimates import SIZE
from media import noisy_frames

from flowgru.config.way import Way
from flowgru.data.starts import dis_start
from flowgru.estimation.stream import StreamFrame, pair_flows
from flowgru.grid import splat


def test_tiles_have_their_part_of_one_initial_flow_and_the_polish_comes_after_blending(network, monkeypatch):
    frames = [torch.from_numpy(frame).permute(2, 0, 1)[None] / 255 for frame in noisy_frames(2, 136, 320)]
    starts, polished = [], []
    match = network.match
    monkeypatch.setattr(network, "match", lambda *a, **o: (starts.append(o["initial_flow"]), match(*a, **o))[1])
    monkeypatch.setattr(
        "flowgru.estimation.steps.polish",
        lambda first, second, flow, begun: (polished.append((flow, begun)), flow)[1],
    )
    way = Way(1, "dis", 1, True)
    (found,) = pair_flows([StreamFrame(frame, 0) for frame in frames], network, way, tiles=(1, 2))
    whole = dis_start(frames[0][0], frames[1][0])
    assert len(starts) == 2 and torch.equal(starts[0][0], whole[..., : starts[0].shape[3]])
    assert torch.equal(starts[1][0], whole[..., -starts[1].shape[3] :])
    ((flow, begun),) = polished
    assert flow.shape == (136, 320, 2) and np.array_equal(begun, whole.permute(1, 2, 0).numpy())
    assert found.initial_flows == ("dis",)


def test_a_warm_start_replaces_the_initial_flow_but_for_the_first_pair_and_after_a_cut(network):
    quiet = [frame // 4 for frame in noisy_frames(5, *SIZE)]
    frames = [*quiet[:3], *(frame + 128 for frame in quiet[3:])]
    tensors = [torch.from_numpy(frame).permute(2, 0, 1)[None] / 255 for frame in frames]
    way = Way(1, "dis", 1)
    found = list(pair_flows(map(StreamFrame, tensors, range(5)), network, way, warm_start=True, backward=True))
    assert [pair.initial_flows for pair in found] == [("dis",) * 2, ("warm",) * 2, ("dis",) * 2, ("warm",) * 2]
    with torch.no_grad():
        begun = network(*tensors[:2], iterations=1, hold=1, initial_flow=dis_start(tensors[0][0], tensors[1][0])[None])
        carried = splat(begun.coarse, begun.coarse)
        expected = network(*tensors[1:3], iterations=1, hold=1, initial_coarse=carried).flows[-1][0]
    torch.testing.assert_close(found[1].forward, expected, rtol=1e-4, atol=1e-4)
