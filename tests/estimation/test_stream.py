"""The pairs of a clip begin where the pair before leads or at an initial flow, of which each tile has its part."""

import re
import threading
import warnings

import numpy as np
import pytest
import torch
from calls import count_calls
from estimates import SIZE
from media import noisy_frames, write_clip

from flowgru.config import NetworkConfig
from flowgru.config.way import Way
from flowgru.data.formats.images import level_tensor, to_tensor
from flowgru.data.starts import dis_start
from flowgru.data.video.frames import open_frames
from flowgru.estimation.clip_frames import clip_stream
from flowgru.estimation.geometry import warn_of_distortion
from flowgru.estimation.matching.settings import MatchSettings
from flowgru.estimation.public.flows import estimate_pairs
from flowgru.estimation.stream import StreamFrame, pair_flows, read_ahead
from flowgru.grid import splat
from flowgru.model.flow_network import FlowNetwork


def test_tiles_have_their_part_of_one_initial_flow_and_the_polish_comes_after_blending(network, monkeypatch):
    frames = [torch.from_numpy(frame).permute(2, 0, 1)[None] / 255 for frame in noisy_frames(2, 136, 320)]
    starts, polished = [], []
    match = network.match
    monkeypatch.setattr(network, "match", lambda *a, **o: (starts.append(o["initial_flow"]), match(*a, **o))[1])
    monkeypatch.setattr(
        "flowgru.estimation.matching.steps.polish",
        lambda first, second, flow, begun: (polished.append((flow, begun)), flow)[1],
    )
    way = Way(1, "dis", 1, True)
    (found,) = pair_flows([StreamFrame(frame, 0) for frame in frames], network, MatchSettings(way, tiles=(1, 2)))
    whole = dis_start(frames[0][0], frames[1][0])
    assert len(starts) == 2 and torch.equal(starts[0][0], whole[..., : starts[0].shape[3]])
    assert torch.equal(starts[1][0], whole[..., -starts[1].shape[3] :])
    ((flow, begun),) = polished
    assert flow.shape == (136, 320, 2) and np.array_equal(begun, whole.permute(1, 2, 0).numpy())
    assert found.initial_flows == ("dis",)


@pytest.mark.parametrize("confidence", [False, True])
def test_how_sure_the_network_is_is_computed_once_a_pair_and_only_where_it_is_asked_for(confidence):
    network = FlowNetwork(NetworkConfig("compact", confidence=True)).eval()
    frames = [torch.from_numpy(frame).permute(2, 0, 1)[None] / 255 for frame in noisy_frames(3, 192, 200)]
    calls = count_calls(mixture=network.mixture_head, upsampler=network.upsampler)
    stream = [StreamFrame(frame, 0) for frame in frames]
    found = list(pair_flows(stream, network, MatchSettings(Way(1, scales=2), backward=True, confidence=confidence)))
    assert (calls["mixture"], calls["upsampler"]) == (2 * confidence, 8)  # of two pairs, two directions and two sizes
    plain = estimate_pairs(frames[0], frames[1], network, iterations=1, scales=2)
    torch.testing.assert_close(found[0].forward, plain[0], rtol=0, atol=1e-5)
    sure = [pair.confidence for pair in found if pair.confidence is not None]
    assert [each.shape for each in sure] == [(192, 200)] * 2 * confidence and all(each.std() > 0 for each in sure)


def test_a_warm_start_replaces_the_initial_flow_but_for_the_first_pair_and_at_a_cut(network):
    quiet = [frame // 4 for frame in noisy_frames(6, *SIZE)]
    frames = [*quiet[:3], *(frame + 128 for frame in quiet[3:])]
    tensors = [torch.from_numpy(frame).permute(2, 0, 1)[None] / 255 for frame in frames]
    way = Way(1, "dis", 1)
    found = list(
        pair_flows(map(StreamFrame, tensors, range(6)), network, MatchSettings(way, warm_start=True, backward=True))
    )
    assert [pair.initial_flows for pair in found] == [(name,) * 2 for name in ("dis", "warm", "dis", "dis", "warm")]
    with torch.no_grad():
        begun = network(*tensors[:2], iterations=1, hold=1, initial_flow=dis_start(tensors[0][0], tensors[1][0])[None])
        carried = splat(begun.coarse, begun.coarse)
        expected = network(*tensors[1:3], iterations=1, hold=1, initial_coarse=carried).flows[-1][0]
    torch.testing.assert_close(found[1].forward, expected, rtol=1e-4, atol=1e-4)


CPU = torch.device("cpu")


def test_the_next_frame_is_read_while_the_caller_works_and_no_further_one():
    read = [threading.Event() for _ in range(4)]

    def frames():
        for number in range(3):
            assert threading.current_thread() is not threading.main_thread()
            read[number].set()
            yield StreamFrame(torch.zeros(1, 3, 2, 2), number)
        read[3].set()
        raise OSError("the third frame is the last whole one")

    seen = []
    with pytest.raises(OSError, match="last whole one"):
        for frame in read_ahead(frames(), CPU):
            seen.append(frame.source)
            assert read[frame.source + 1].wait(60)
            assert not any(event.is_set() for event in read[frame.source + 2 :])
    assert seen == [0, 1, 2]


def test_a_caller_that_has_enough_waits_for_no_frame_that_it_does_not_want():
    asked = []
    frames = (asked.append(number) or StreamFrame(torch.zeros(1, 3, 2, 2), number) for number in range(9))
    stream = read_ahead(frames, CPU)
    next(stream)
    stream.close()
    assert asked == [0, 1]


@pytest.mark.parametrize("device, pinned", [("cuda", [True, True]), ("cpu", [False, False])])
def test_frames_for_a_gpu_are_read_into_memory_that_it_copies_from(monkeypatch, device, pinned):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self + 1)
    frames = iter([StreamFrame(torch.zeros(1, 3, 2, 2), number) for number in range(2)])
    assert [bool(frame.image.all()) for frame in read_ahead(frames, torch.device(device))] == pinned


def test_a_frame_at_its_own_size_is_not_brought_back_from_the_device_for_the_steps_around_the_network(
    network, monkeypatch
):
    seen = []
    monkeypatch.setattr("flowgru.estimation.matching.matcher.grey_of", lambda way, picture: seen.append(picture))
    frames = [torch.rand(1, 3, *SIZE) for _ in range(2)]
    for resize, same in ((None, True), (0.75, False)):
        list(pair_flows(map(StreamFrame, frames, range(2)), network, MatchSettings(Way(1, "zero", 0), resize=resize)))
        assert [picture is frame for picture, frame in zip(seen, frames, strict=True)] == [same, same]
        seen.clear()


@pytest.mark.parametrize(
    ("resize", "kept"),
    [
        ((640, 480), "480x640"),  # width and height in the wrong order
        ((480, 480), "480x640"),
        ((240, 240), "240x320"),
        ((240, 300), "240x320"),
        ((480, 640), None),
        ((100, 133), None),  # as near as whole pixels come
        ((240, 308), None),  # 4 %
        (0.5, None),
        (None, None),
    ],
)
def test_a_size_that_distorts_the_frames_is_warned_of_with_one_that_does_not(resize, kept):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_distortion((480, 640), resize)
    said = [
        re.search(r"frames of 480x640 px .height x width. by \d+%.*: (\w+) keeps it", str(one.message))
        for one in caught
    ]
    assert [found and found[1] for found in said] == ([] if kept is None else [kept])


@pytest.mark.parametrize(
    "options",
    [{}, {"resize": 0.75}, {"warm_start": True, "backward": True}],
    ids=lambda each: "-".join(each) or "plain",
)
def test_frames_in_8_bits_travel_as_such_and_give_the_same_bits(network, options):
    frames = [np.ascontiguousarray(frame[..., ::-1]) for frame in noisy_frames(3, *SIZE)]
    way = Way(1, "dis", 1, polish=True)
    found = [
        list(
            pair_flows((StreamFrame(kind(frame)[None], 0) for frame in frames), network, MatchSettings(way, **options))
        )
        for kind in (level_tensor, to_tensor)
    ]
    for levels, pictures in zip(*found, strict=True):
        assert torch.equal(levels.forward, pictures.forward) and levels.initial_flows == pictures.initial_flows
        assert levels.backward is None or torch.equal(levels.backward, pictures.backward)


def test_what_goes_to_the_device_of_a_clip_are_bytes(network, tmp_path, monkeypatch):
    write_clip(tmp_path / "clip.avi", noisy_frames(3, *SIZE))
    (source,) = open_frames([str(tmp_path / "clip.avi")])
    sent, to = [], torch.Tensor.to

    def noted(self, *places, **options):
        if places[:1] == (network.device,):
            sent.append((self.dtype, self.shape[1]))
        return to(self, *places, **options)

    monkeypatch.setattr(torch.Tensor, "to", noted)
    list(pair_flows(clip_stream(source), network, MatchSettings(Way(1, "zero", 0))))
    assert sent.count((torch.uint8, 3)) == 3 and (torch.float32, 3) not in sent
