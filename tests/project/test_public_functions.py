"""Every public function takes every kind of flow and picture that people have, or refuses it in one line of ours."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from estimates import PictureDifference
from made_inputs import FLOW, FLOW_KINDS, HEIGHT, OTHER, PICTURE_KINDS, RGB, SIZE, WIDTH, first, refused, tensor
from PIL import Image

import flowgru
from flowgru.data.formats.flow_formats import FlowFile
from flowgru.data.formats.images import to_tensor

NO_FLOWS: dict[str, Any] = {
    "None": None,
    "number": 3.0,
    "text": "a.flo",
    "list": [[[1.0, 2.0]]],
    "dict": {"flow": FLOW},
    "flow file": FlowFile(FLOW, np.ones(SIZE, bool)),
    "PIL": Image.fromarray(RGB),
    "two axes": FLOW[..., 0],
    "three channels": np.zeros((*SIZE, 3), np.float32),
    "empty": FLOW[:0],
    "five axes": np.zeros((1, 1, 2, *SIZE), np.float32),
    "complex": FLOW.astype(np.complex64),
    "bool": FLOW > 0,
    "unsigned": FLOW.astype(np.uint8),
    "texts": FLOW.astype(str),
    "objects": FLOW.astype(object),
    "scalar tensor": torch.tensor(1.0),
    "complex tensor": tensor(first(FLOW)).to(torch.complex64),
    "sparse tensor": tensor(first(FLOW)).to_sparse(),
    "tensor without values": torch.empty(2, *SIZE, device="meta"),
    "unsigned tensor": tensor(first(FLOW)).byte(),
}


NO_PICTURES: dict[str, Any] = {
    "None": None,
    "number": 7,
    "list": [[1, 2], [3, 4]],
    "dict": {},
    "bytes": b"a.png",
    "two channels": RGB[..., :2],
    "one axis": RGB[0, 0],
    "four axes": RGB[None],
    "empty": RGB[:0],
    "levels as float": RGB.astype(np.float32),
    "levels as int64": RGB.astype(np.int64),
    "levels as int64 tensor": tensor(first(RGB)).long(),
    "NaN": np.full((*SIZE, 3), np.nan),
    "infinite tensor": torch.full((3, *SIZE), torch.inf),
    "complex": RGB.astype(complex),
    "texts": RGB.astype(str),
    "objects": RGB.astype(object),
    "sparse tensor": (tensor(first(RGB)) / 255).to_sparse(),
    "tensor without values": torch.empty(3, *SIZE, device="meta"),
    "PIL float": Image.fromarray(RGB[..., 0].astype(np.float32)),
    "no file": "nowhere.png",
    "empty path": "",
    "path with a NUL": "a\0.png",
}


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


# Flows


@pytest.mark.parametrize("kind", FLOW_KINDS)
def test_every_kind_of_flow_is_written_shown_and_warped_with(kind, tmp_path):
    given = FLOW_KINDS[kind](FLOW)
    flowgru.write_flow(tmp_path / "a.flo", given)
    assert np.array_equal(flowgru.read_flow(str(tmp_path / "a.flo")).flow, FLOW)
    picture = flowgru.flow_to_image(given)
    assert picture.shape == (*SIZE, 3) and picture.dtype == np.uint8 and picture.flags.c_contiguous
    assert np.array_equal(picture, flowgru.flow_to_image(FLOW)) and Image.fromarray(picture).size == (WIDTH, HEIGHT)
    drawn = flowgru.draw_arrows(RGB, given)
    assert np.array_equal(drawn, flowgru.draw_arrows(RGB, FLOW)) and not np.array_equal(drawn, RGB)
    warped = flowgru.warp(RGB, given)
    assert np.array_equal(warped.picture, flowgru.warp(RGB, FLOW).picture)
    mask = flowgru.occlusion(given, FLOW_KINDS[kind](-FLOW))
    assert isinstance(mask, np.ndarray if kind.startswith("array") else torch.Tensor)
    assert np.array_equal(np.asarray(mask), flowgru.occlusion(FLOW, -FLOW)) and mask.shape == SIZE


@pytest.mark.parametrize("kind", FLOW_KINDS)
def test_every_kind_of_flow_may_be_where_a_refinement_begins(kind, difference):
    (expected,) = flows_of(difference, [RGB, OTHER], initial_flow=[tensor(first(FLOW))])
    (found,) = flows_of(difference, [RGB, OTHER], initial_flow=[FLOW_KINDS[kind](FLOW)])
    pair = flowgru.estimate_pairs(RGB, OTHER, difference, iterations=1, initial_flow=FLOW_KINDS[kind](FLOW))
    assert is_flow(found) and torch.equal(found, expected) and torch.equal(pair, expected)


@pytest.mark.parametrize("kind", NO_FLOWS)
def test_what_is_no_flow_is_refused_by_every_function(kind, difference, tmp_path):
    given = NO_FLOWS[kind]
    for call in (
        lambda: flowgru.write_flow(tmp_path / "a.flo", given),
        lambda: flowgru.flow_to_image(given),
        lambda: flowgru.warp(RGB, given),
        lambda: flowgru.occlusion(given, FLOW),
        lambda: flowgru.occlusion(FLOW, given),
        lambda: flowgru.draw_arrows(RGB, given),
    ):
        assert "expected" in refused(call)
    if given is not None:  # None leaves the choice to the card
        assert "initial_flow" in refused(lambda: flows_of(difference, [RGB, OTHER], initial_flow=[given]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("channels_first", [True, False])
@pytest.mark.parametrize("make", [np.array, tensor])
def test_batches_of_flows_and_pictures(make, channels_first):
    flows, rgb = np.stack([FLOW, -FLOW]), np.stack([RGB, OTHER])
    given, pictures = (make(first(each) if channels_first else each) for each in (flows, rgb))
    assert np.array_equal(flowgru.flow_to_image(given), flowgru.flow_to_image(flows))
    warped, valid = flowgru.warp(pictures, given)
    assert type(warped) is type(pictures) and warped.shape == pictures.shape and valid.shape == (2, *SIZE)
    expected = flowgru.warp(OTHER, -FLOW).picture
    one = np.asarray(warped[1])
    assert np.array_equal(np.moveaxis(one, 0, -1) if channels_first else one, expected)
    assert np.array_equal(np.asarray(flowgru.occlusion(given, given))[0], flowgru.occlusion(FLOW, FLOW))
    assert "one flow" in refused(lambda: flowgru.write_flow("a.flo", given))
    assert "one flow" in refused(lambda: flowgru.draw_arrows(RGB, given))
    assert "expected" in refused(lambda: flowgru.warp(RGB, given))
    assert "expected" in refused(lambda: flowgru.warp(pictures, FLOW))
    assert "expected" in refused(lambda: flowgru.warp(pictures[:1], given))


@pytest.mark.parametrize("make", [np.array, tensor])
def test_where_the_channels_may_be_first_or_last_it_is_said(make, tmp_path):
    given = make(np.arange(20.0).reshape(2, 5, 2).astype(np.float32))
    said, shape = ("[H, W, channels]", (2, 5)) if isinstance(given, np.ndarray) else ("[channels, H, W]", (5, 2))
    for call in (lambda: flowgru.flow_to_image(given).shape[:2], lambda: flowgru.occlusion(given, given).shape):
        with pytest.warns(UserWarning, match=r"float32 \[2, 5, 2\], whose channels may be first or last") as caught:
            assert call() == shape
        assert said in str(caught[0].message)


# Pictures


@pytest.mark.parametrize("kind", PICTURE_KINDS)
def test_every_kind_of_picture_is_the_rgb_that_it_stands_for(kind, difference):
    make, meant = PICTURE_KINDS[kind]
    rgb, other = (meant(each).astype(np.uint8) for each in (RGB, OTHER))
    (expected,) = flows_of(difference, [to_tensor(rgb), to_tensor(other)])
    (found,) = flows_of(difference, (make(each) for each in (RGB, OTHER)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert is_flow(found) and not found.requires_grad
    pair = flowgru.estimate_pairs(make(RGB), make(OTHER), difference, iterations=1)
    torch.testing.assert_close(pair, found, rtol=0, atol=0)
    assert np.array_equal(flowgru.draw_arrows(make(RGB), FLOW), flowgru.draw_arrows(rgb, FLOW))


@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize("kind", PICTURE_KINDS)
def test_a_warped_picture_is_of_the_kind_that_was_given(kind, forward):
    given = PICTURE_KINDS[kind][0](RGB)
    back, valid = flowgru.warp(given, np.zeros_like(FLOW), forward=forward)
    of_tensor = isinstance(given, torch.Tensor)
    assert isinstance(valid, torch.Tensor if of_tensor else np.ndarray)
    assert valid.shape == SIZE and str(valid.dtype).endswith("bool") and bool(valid.all())
    if isinstance(given, Image.Image):
        assert isinstance(back, Image.Image) and np.array_equal(np.asarray(back), PICTURE_KINDS[kind][1](RGB))
        return
    assert type(back) is (torch.Tensor if of_tensor else np.ndarray) and back.shape == given.shape
    if isinstance(back, torch.Tensor):
        assert back.dtype == given.dtype and back.requires_grad == given.requires_grad
        torch.testing.assert_close(back, given, rtol=1e-5, atol=1e-5)
    else:
        assert back.dtype == given.dtype.newbyteorder("=")
        tolerance = 1e-5 if back.dtype.kind == "f" else 0
        np.testing.assert_allclose(back.astype(np.float64), given.astype(np.float64), rtol=tolerance, atol=tolerance)


def test_a_warp_looks_where_the_flow_leads():
    flow = np.zeros_like(FLOW)
    flow[..., 0] = 1
    back, valid = flowgru.warp(np.roll(RGB, 1, axis=1), flow)
    assert np.array_equal(back[:, :-1], RGB[:, :-1]) and valid[:, :-1].all() and not valid[:, -1].any()
    many = np.repeat(RGB[..., :1], 7, axis=2) / 255  # features, say
    assert flowgru.warp(many, flow).picture.shape == (*SIZE, 7)
    assert "expected one size" in refused(lambda: flowgru.warp(RGB[:, :5], flow))


@pytest.mark.parametrize("kind", NO_PICTURES)
def test_what_is_no_picture_is_refused_by_every_function(kind, difference):
    given = NO_PICTURES[kind]
    refused(lambda: flows_of(difference, [given, given]))
    refused(lambda: flows_of(difference, [RGB, given]))
    if kind not in ("four axes", "list", "dict"):  # a batch of one, and what may hold pictures
        refused(lambda: flowgru.estimate_pairs(given, given, difference))
    refused(lambda: flowgru.estimate_pairs([given], [given], difference))
    refused(lambda: flowgru.draw_arrows(given, FLOW))
    if kind not in (
        "levels as float",
        "levels as int64",
        "levels as int64 tensor",
        "NaN",
        "infinite tensor",
        "two channels",
    ):
        refused(lambda: flowgru.warp(given, FLOW))  # which takes any numbers and channels
