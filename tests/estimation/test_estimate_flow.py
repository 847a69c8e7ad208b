"""`estimate_flow` and the stream under it: each frame once, in constant memory, whatever kind of picture it is."""

import copy
import weakref

import numpy as np
import pytest
import torch
from estimates import SIZE
from media import noisy_frames
from PIL import Image

from flowgru import estimate_flow
from flowgru.config.way import Way
from flowgru.data.formats.images import to_tensor
from flowgru.errors import RequestError
from flowgru.estimation.geometry import occlusion_mask, resize_flow
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.estimation.stream import StreamFrame, pair_flows
from flowgru.grid import splat

# Each frame once, in constant memory, and warm starts


def counted(network, monkeypatch) -> dict[str, list]:
    """What the network is asked for from now on."""
    calls: dict[str, list] = {"encode": [], "match": []}
    encode, match = network.encode, network.match

    def count_encode(frame, *, with_context=True, **options):
        calls["encode"].append(with_context)
        return encode(frame, with_context=with_context, **options)

    def count_match(first, second, **options):
        calls["match"].append(options["initial_coarse"])
        return match(first, second, **options)

    monkeypatch.setattr(network, "encode", count_encode)
    monkeypatch.setattr(network, "match", count_match)
    return calls


def stream(frames: list[np.ndarray], segments: list[int] | None = None):
    return (
        StreamFrame(to_tensor(frame)[None], index, segments[index] if segments else 0)
        for index, frame in enumerate(frames)
    )


def test_each_frame_is_encoded_once_and_with_context_only_where_a_pair_begins(network, monkeypatch):
    calls = counted(network, monkeypatch)
    assert len(list(estimate_flow(noisy_frames(4, *SIZE), network, iterations=1))) == 3
    assert calls["encode"] == [True, True, True, False]


def test_no_flow_leads_from_one_segment_to_the_next(network, monkeypatch):
    calls = counted(network, monkeypatch)
    frames = [*noisy_frames(3, *SIZE), *noisy_frames(3, 40, 72)]
    found = list(pair_flows(stream(frames, [0, 0, 0, 1, 1, 1]), network, MatchSettings(Way(1))))
    assert [(pair.first, pair.second) for pair in found] == [(0, 1), (1, 2), (3, 4), (4, 5)]
    assert calls["encode"] == [True, True, False, True, True, False]


def test_a_warm_start_carries_the_flow_on_but_not_over_a_cut(network, monkeypatch):
    calls = counted(network, monkeypatch)
    quiet = [frame // 4 for frame in noisy_frames(6, *SIZE)]
    frames = [*quiet[:3], *(frame + 128 for frame in quiet[3:])]
    found = list(pair_flows(stream(frames), network, MatchSettings(Way(1), warm_start=True)))
    assert [start is None for start in calls["match"]] == [True, False, True, True, False]
    cold = list(pair_flows(stream(frames), network, MatchSettings(Way(1))))
    assert torch.equal(found[0].forward, cold[0].forward) and not torch.equal(found[1].forward, cold[1].forward)


def test_a_flow_that_is_not_finite_leads_nowhere(network, monkeypatch):
    broken = copy.deepcopy(network)
    with torch.no_grad():
        next(broken.flow_head.parameters()).fill_(torch.nan)
    calls = counted(broken, monkeypatch)
    found = list(
        pair_flows(stream(noisy_frames(3, *SIZE)), broken, MatchSettings(Way(1), warm_start=True, backward=True))
    )
    assert len(found) == 2 and calls["match"] == [None] * 4


def test_a_warm_start_of_both_directions_and_after_a_new_size(network, monkeypatch):
    calls = counted(network, monkeypatch)
    frames = [*noisy_frames(3, *SIZE), *noisy_frames(2, 40, 72)]
    list(pair_flows(stream(frames, [0, 0, 0, 1, 1]), network, MatchSettings(Way(1), warm_start=True, backward=True)))
    assert [start is None for start in calls["match"]] == [True, True, False, False, True, True]


def test_a_splat_lands_where_the_flow_leads():
    values = torch.zeros(1, 2, 8, 10)
    values[0, :, 2, 3] = torch.tensor([4.0, 1.0])
    carried = splat(values, 2 * values)
    assert carried[0, :, 4, 9].tolist() == [0, 0]  # (3 + 8, 2 + 2) is outside
    still = values.clone()
    still[0, :, :, :] = torch.tensor([2.0, 1.0])[:, None, None]
    assert torch.equal(splat(still, still), still)
    half = splat(values, values)
    assert half[0, :, 3, 7].tolist() == [2.0, 0.5]  # with the one that stood there
    assert half[0, :, 2, 3].tolist() == [4.0, 1.0]  # nothing arrives: it keeps its own


def test_a_long_stream_takes_no_more_memory(network):
    alive: list[weakref.ref] = []

    def frames():
        for frame in noisy_frames(8, *SIZE):
            tensor = to_tensor(frame)
            alive.append(weakref.ref(tensor))
            yield tensor
            del tensor
            assert sum(reference() is not None for reference in alive) <= 3

    flows = [weakref.ref(flow) for flow in estimate_flow(frames(), network, iterations=1)]
    assert len(flows) == 7 and sum(flow() is not None for flow in flows) <= 1


# From Python


def test_arrays_pil_pictures_and_tensors_give_the_same_flow(network):
    frames = noisy_frames(3, *SIZE)
    arrays = list(estimate_flow(frames, network, iterations=1))
    assert arrays[0].shape == (2, *SIZE) and arrays[0].dtype == torch.float32 and not arrays[0].is_inference()
    for others in (map(Image.fromarray, frames), map(to_tensor, frames)):
        assert all(map(torch.equal, arrays, estimate_flow(others, network, iterations=1)))


def test_the_caller_is_not_put_into_inference_mode(network):
    for _ in estimate_flow(noisy_frames(3, *SIZE), network, iterations=1):
        assert not torch.is_inference_mode_enabled()
        assert torch.ones(1, requires_grad=True).mul(2).requires_grad


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ([np.zeros((8, 8, 3), np.uint8)], "got 1 frames: flow needs at least 2"),
        ([], "got 0 frames"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)], "frame 1 is 8x9 and the one before 8x8 px"),
        ([np.zeros((8, 8, 2), np.uint8)] * 2, "frame 0 is an array uint8 .*expected 1, 3 or 4 channels"),
        ([np.zeros((8, 8, 3), np.int64)] * 2, "frame 0 is an array int64 .*expected uint8, uint16"),
        ([torch.zeros(3, 8, 8), torch.full((3, 8, 8), torch.nan)], "frame 1 holds nan at channel 0, row 0, column 0"),
        ([torch.zeros(3, 8, 8), torch.full((3, 8, 8), torch.inf)], "frame 1 holds .*not finite"),
        ([torch.full((3, 8, 8), 200.0)] * 2, r"frame 0 has values .*expected \[0, 1\]: divide by 255"),
        ([np.zeros((8, 8, 3)) - 0.5] * 2, r"frame 0 has values in \[-0.5, -0.5\], .*: expected \[0, 1\]$"),
    ],
)
def test_frames_that_cannot_be_meant_are_refused(network, frames, said):
    with pytest.raises(ValueError, match=said):
        list(estimate_flow(frames, network, iterations=1))


def test_iterations_are_checked_at_once(network):
    with pytest.raises(ValueError, match="iterations is 0"):
        estimate_flow([], network, iterations=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 17), (9, 1), (7, 9), (64, 64)])
def test_pictures_of_any_size_give_a_finite_flow_of_their_size(network, size):
    (flow,) = estimate_flow(noisy_frames(2, *size), network, iterations=1)
    assert flow.shape == (2, *size) and flow.isfinite().all()


def test_what_a_moving_square_covers_is_occluded():
    """A square moves 6 pixels to the right over a background at rest."""
    forward, backward = torch.zeros(2, 2, 30, 40)
    forward[0, 10:20, 10:20] = 6
    backward[0, 10:20, 16:26] = -6
    covered = torch.zeros(30, 40, dtype=torch.bool)
    covered[10:20, 20:26] = True
    assert torch.equal(occlusion_mask(forward, backward), covered)
    forward[0, :, 38:] = 3  # out of the picture
    assert occlusion_mask(forward, backward)[:, 38:].all()


@pytest.mark.parametrize("step, hidden", [(0.4, False), (0.6, True)])
def test_a_pixel_at_the_edge_is_hidden_where_it_leaves_by_more_than_half_a_pixel(step, hidden):
    """All pixels move outwards from the middle, and back; those of the first row and column less than they hold of it."""
    forward = torch.zeros(2, 10, 12)
    forward[0, :, :6], forward[0, :, 6:] = -step, step
    forward[1, :5], forward[1, 5:] = -step, step
    found = occlusion_mask(forward, -forward)
    edge = torch.ones(10, 12, dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    assert torch.equal(found, edge & hidden)


def test_what_is_not_finite_is_hidden():
    forward = torch.zeros(2, 5, 6)
    forward[0, 1, 2], forward[1, 3, 4] = torch.nan, torch.inf
    found = occlusion_mask(forward, torch.zeros(2, 5, 6))
    assert found.nonzero().tolist() == [[1, 2], [3, 4]]


def test_a_resized_flow_is_in_the_new_sizes_pixels():
    flow = torch.tensor([2.0, 1.0])[None, :, None, None].expand(1, 2, 10, 20)
    bigger = resize_flow(flow, (30, 40))
    assert torch.equal(bigger, torch.tensor([4.0, 3.0])[None, :, None, None].expand(1, 2, 30, 40))


def test_initial_flows_beyond_the_last_pair_of_a_folder_are_refused(network, tmp_path):
    for number, frame in enumerate(noisy_frames(2, *SIZE)):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    flows = estimate_flow(tmp_path, network, iterations=1, initial_flow=[torch.zeros(2, *SIZE)] * 2)
    assert next(flows).shape == (2, *SIZE)
    with pytest.raises(RequestError, match="initial_flow has 2 flows and there is 1 pair: expected one flow for each"):
        next(flows)
