"""Frames, pairs, models, settings and paths of the public functions, in whatever they come, or one line of ours."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from estimates import PictureDifference
from made_inputs import FLOW, OTHER, RGB, SIZE, first, refused, tensor
from media import write_clip
from PIL import Image

import flowgru
from flowgru.config import NetworkConfig
from flowgru.data.formats.images import write_image
from flowgru.data.video.frames import open_frames
from flowgru.data.video.reader import VideoReader
from flowgru.errors import FlowgruError, RequestError
from flowgru.model.flow_network import FlowNetwork


@pytest.fixture
def difference():
    return PictureDifference()


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*non-tuple|.*sparse", category=UserWarning)
        yield


def is_flow(found: torch.Tensor, count: tuple[int, ...] = ()) -> bool:
    return found.dtype == torch.float32 and found.shape == (*count, 2, *SIZE) and bool(found.isfinite().all())


def flows_of(network, frames: Any, **options: Any) -> list[torch.Tensor]:
    return list(flowgru.estimate_flow(frames, network, iterations=1, **options))


# What frames and pairs come in


def test_frames_come_in_whatever_holds_them(difference, tmp_path):
    frames = [RGB, OTHER, RGB]
    expected = flows_of(difference, frames)
    paths = [tmp_path / "walk" / f"{number}.png" for number in range(3)]
    for path, frame in zip(paths, frames, strict=True):
        write_image(path, frame)
    stack = np.stack(frames)
    for given in (
        tuple(frames),
        iter(frames),
        stack,
        first(stack),
        tensor(stack),
        tensor(first(stack)),
        paths,
        [str(path) for path in paths],
        [paths[0], OTHER, Image.fromarray(RGB)],
        tmp_path / "walk",
        str(tmp_path / "walk"),
        str(tmp_path / "walk" / "*.png"),
        open_frames([tmp_path / "walk"])[0],
    ):
        torch.testing.assert_close(flows_of(difference, given), expected, rtol=0, atol=0)
    clip = write_clip(tmp_path / "clip.mkv", frames, codec="ffv1", pixel_format="bgr0")
    torch.testing.assert_close(flows_of(difference, clip), expected, rtol=0, atol=0)
    with VideoReader(clip) as reader:
        torch.testing.assert_close(flows_of(difference, reader), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (None, "frames is a NoneType: expected a video, a folder"),
        (3, "frames is a int"),
        (Image.fromarray(RGB), "frames is a Image"),
        (RGB, r"frames is an array uint8 \[24, 32, 3\], which is no stack of pictures"),
        (tensor(first(RGB)), r"frames is a tensor uint8 \[3, 24, 32\], which is no stack"),
        ("nowhere.mp4", "nowhere.mp4"),
        ("", "frames is ''"),
        (b"clip.mp4", "frames is a bytes"),
        ("https://example.org/a.mp4", "only local files"),
        ([], "got 0 frames"),
        ([RGB], "got 1 frames: flow needs at least 2"),
        ([RGB, RGB[1:]], "frame 1 is 23x32 and the one before 24x32 px"),
        (RGB[None], "got 1 frames"),
        (torch.tensor(1.0), "no stack of pictures"),
    ],
)
def test_what_holds_no_frames_is_refused(frames, said, difference):
    with pytest.raises(FlowgruError, match=said):
        flows_of(difference, frames)


def test_pairs_come_in_batches_and_lists(difference):
    firsts, seconds = np.stack([RGB, OTHER, RGB]), np.stack([OTHER, RGB, RGB])
    expected = torch.stack([flows_of(difference, pair)[0] for pair in zip(firsts, seconds, strict=True)])
    for make in (
        list,
        tensor,
        first,
        lambda stack: tensor(first(stack)) / 255,
        lambda stack: map(Image.fromarray, stack),
    ):
        found = flowgru.estimate_pairs(make(firsts), make(seconds), difference, iterations=1)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert is_flow(found, (3,))
    started = flowgru.estimate_pairs(firsts, seconds, difference, iterations=1, initial_flow=np.stack([FLOW] * 3))
    assert is_flow(started, (3,)) and not torch.equal(started, found)


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (([RGB], [RGB, RGB]), "first is 1 picture and second 2 pictures: expected as many of both"),
        (([], []), "expected as many of both, one at least"),
        ((RGB, [RGB]), "expected as many"),
        ((RGB, RGB[1:]), "first is 24x32 and its second 23x32 px .height x width.: expected pictures of one size"),
        (([RGB, RGB[1:]], [RGB, RGB[1:]]), "first 1 is 23x32 and the first of all 24x32 px"),
        ((RGB[None, None], RGB[None, None]), "no stack of pictures"),
    ],
)
def test_what_makes_no_pairs_is_refused(pair, said, difference):
    with pytest.raises(RequestError, match=said):
        flowgru.estimate_pairs(pair[0], pair[1], difference)


# Models, settings and paths


def test_a_model_is_named_or_given_or_left_out(model):
    expected = flows_of(flowgru.load_model(model), [RGB, OTHER])
    for given in (model, Path(model)):
        assert torch.equal(flows_of(given, [RGB, OTHER])[0], expected[0])
    (without,) = flowgru.estimate_flow([RGB, OTHER], iterations=1)
    (default,) = flowgru.estimate_flow([RGB, OTHER], "default", iterations=1)
    assert is_flow(without) and torch.equal(without, default)
    for wrong in (3, torch.nn.Linear(1, 1), "nowhere.safetensors", "", "nowhere.onnx", b"default"):
        refused(lambda wrong=wrong: flows_of(wrong, [RGB, OTHER]))
        refused(lambda wrong=wrong: flowgru.estimate_pairs(RGB, OTHER, wrong))
        if not isinstance(wrong, torch.nn.Module):
            refused(lambda wrong=wrong: flowgru.load_model(wrong))
    refused(lambda: flowgru.load_model(None))
    refused(lambda: flowgru.load_model(model, device=3.5))


@pytest.mark.parametrize(
    "wrong",
    [
        {"iterations": 0},
        {"iterations": 1.5},
        {"iterations": "many"},
        {"hold": -1},
        {"polish": "yes"},
        {"stop_below": 0},
        {"stop_below": "little"},
        {"initial_flow": "left"},
        {"initial_flow": 3},
        {"initial_flow": [FLOW[1:]]},
        {"initial_flow": [FLOW[None]]},
        {"initial_flow": [np.full_like(FLOW, np.nan)]},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, difference):
    name = next(iter(wrong))
    assert name in refused(lambda: flowgru.estimate_flow([RGB, OTHER], difference, **wrong))
    assert name in refused(lambda: flowgru.estimate_pairs([RGB], [OTHER], difference, **wrong))


def test_a_pixel_of_a_start_that_files_mark_as_unknown_is_filled(difference):
    marked, known = np.stack([FLOW, FLOW]), np.stack([FLOW, FLOW])
    marked[:, 2, 3], known[:, 2, 3] = 1.67e9, np.nan
    found, expected = (flows_of(difference, [RGB, OTHER, RGB], initial_flow=[*given]) for given in (marked, known))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    beyond = [np.full_like(FLOW, 1e10)] * 2
    with pytest.raises(
        RequestError, match="initial_flow 0 has no known pixel: every value of it is NaN, infinite or bey"
    ):
        flows_of(difference, [RGB, OTHER, RGB], initial_flow=beyond)


@pytest.mark.parametrize("wrong", [0, -1.0, float("nan"), float("inf"), "5", None, [1, 2], torch.ones(2)])
def test_scales_and_sizes_are_numbers_of_pixels(wrong):
    if wrong is not None:
        assert "max_flow" in refused(lambda: flowgru.flow_to_image(FLOW, wrong))
        assert "spacing" in refused(lambda: flowgru.draw_arrows(RGB, FLOW, spacing=wrong))
        assert "line_width" in refused(lambda: flowgru.draw_arrows(RGB, FLOW, line_width=wrong))
    assert "scale" in refused(lambda: flowgru.draw_arrows(RGB, FLOW, scale=wrong))
    assert "colour" in refused(lambda: flowgru.draw_arrows(RGB, FLOW, colour=wrong))
    assert "max_flow" in refused(lambda: flowgru.colour_wheel_legend(wrong))
    assert "size" in refused(lambda: flowgru.colour_wheel_legend(1, wrong))


@pytest.mark.parametrize("number", [5, 5.0, np.float32(5), torch.tensor(5.0)])
def test_every_kind_of_number_is_a_scale(number):
    assert np.array_equal(flowgru.flow_to_image(FLOW, number), flowgru.flow_to_image(FLOW, 5.0))
    assert flowgru.colour_wheel_legend(number, np.int64(40)).dtype == np.uint8


@pytest.mark.parametrize("path", [None, 3, b"a.flo", "", "a\0.flo", "nowhere.flo", RGB, ["a.flo"]])
def test_what_is_no_path_is_refused(path):
    refused(lambda: flowgru.read_flow(path))
    if not (isinstance(path, str) and path == "nowhere.flo"):
        refused(lambda: flowgru.write_flow(path, FLOW))


@pytest.mark.parametrize("make", [np.array, tensor])
def test_a_mask_says_where_a_written_flow_is_known(make, tmp_path):
    known = RGB[..., 0] > 99
    flowgru.write_flow(tmp_path / "a.flo", FLOW, make(known))
    assert np.array_equal(flowgru.read_flow(tmp_path / "a.flo").valid, known)
    for wrong in (make(known[1:]), make(known.astype(np.uint8)), known.tolist(), 3, "all"):
        assert "valid is" in refused(lambda wrong=wrong: flowgru.write_flow(tmp_path / "b.flo", FLOW, wrong))


def test_what_is_public_is_there():
    assert flowgru.__version__ and set(flowgru.__all__) <= set(dir(flowgru))
    assert all(getattr(flowgru, name) is not None for name in flowgru.__all__)


def test_a_network_that_is_being_trained_is_used_as_one_that_is_not_and_stays_as_it_was():
    torch.manual_seed(0)
    network = FlowNetwork(NetworkConfig("large", "conv_gru"))
    network.operator.eval()
    before = {name: value.clone() for name, value in network.named_buffers()}
    (found,) = flows_of(network, [RGB, OTHER])
    assert network.training and not network.operator.training
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers()) and before
    (expected,) = flows_of(network.eval(), [RGB, OTHER])
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        (PictureDifference, {}, "model is a type: expected what load_model gives, a name or a file"),
        (lambda: flowgru.load_model(device="cpu").double(), {}, "model has weights in torch.float64: expected float32"),
        (PictureDifference, {"warm_start": "no"}, "warm_start is 'no': expected True or False"),
    ],
    ids=["a class", "other numbers", "a word for a flag"],
)
def test_a_model_or_a_flag_of_another_kind_is_refused(model, options, said):
    given = model if not options and isinstance(model, type) else model()
    assert said in refused(lambda: flows_of(given, [RGB, OTHER], **options))
