"""`flowgru.warp` and `flowgru warp` move pictures backward and forward, as plain loops over pixels say."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from estimates import only_error
from made_inputs import ALPHA, FLOW, HEIGHT, OTHER, RGB, SIZE, WIDTH, over_black, refused
from PIL import Image

import flowgru
from flowgru.cli import main
from flowgru.data.formats.flow_formats import FLOW_FORMATS
from flowgru.data.formats.images import read_image, write_image
from flowgru.grid import forward_warp, splat


def splatted(first: torch.Tensor, flow: torch.Tensor, taken: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """forward_warp of one picture [C, H, W], pixel by pixel."""
    channels, height, width = first.shape
    total, share = torch.zeros_like(first), torch.zeros(height, width, dtype=first.dtype)
    for y, x in ((y, x) for y in range(height) for x in range(width) if taken[y, x]):
        to_x, to_y = x + float(flow[0, y, x]), y + float(flow[1, y, x])
        left, top = math.floor(to_x), math.floor(to_y)
        for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
            if 0 <= column < width and 0 <= row < height:
                weight = (1 - abs(to_x - column)) * (1 - abs(to_y - row))
                total[:, row, column] += weight * first[:, y, x]
                share[row, column] += weight
    known = share > 0.25
    return torch.where(known, total / share.clamp(min=0.25), torch.zeros(channels, 1, 1, dtype=first.dtype)), known


def test_a_forward_warp_is_what_a_loop_over_pixels_gives():
    first, flow = torch.randn(2, 3, 6, 7, dtype=torch.float64), 3 * torch.randn(2, 2, 6, 7, dtype=torch.float64)
    taken = torch.rand(2, 6, 7) > 0.2
    found, valid = forward_warp(first, flow, taken)
    for index in range(2):
        expected, known = splatted(first[index], flow[index], taken[index])
        assert torch.equal(valid[index], known) and 0 < known.sum() < known.numel()
        torch.testing.assert_close(found[index], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30])
def test_a_pixel_whose_flow_leads_nowhere_does_not_take_part(bad):
    first, flow = torch.randn(1, 3, 6, 7, dtype=torch.float64), torch.randn(1, 2, 6, 7, dtype=torch.float64)
    taken = torch.ones(1, 6, 7, dtype=torch.bool)
    taken[0, 2, 3] = taken[0, 5, 0] = False
    expected, known = forward_warp(first, flow, taken)
    flow[0, 0, 2, 3], flow[0, :, 5, 0] = bad, bad
    found, valid = forward_warp(first, flow)
    assert torch.equal(found, expected) and torch.equal(valid, known)


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("step", [0.0, 1e-6])
def test_a_value_that_is_not_finite_stays_in_its_own_pixel(bad, forward, step):
    depth = np.arange(30, dtype=np.float32).reshape(5, 6)
    depth[2, 3], depth[3:, :2] = bad, bad
    warped, valid = flowgru.warp(depth, np.full((5, 6, 2), step, np.float32), forward=forward)
    inside = np.s_[:-1, :-1]  # the last ones move out of the picture
    np.testing.assert_allclose(np.asarray(warped)[inside], depth[inside], rtol=1e-5, atol=1e-5)
    assert np.asarray(valid)[inside].all()


def test_what_takes_no_part_leaves_nothing_behind():
    depth, flow = np.full((4, 5), np.nan, np.float32), np.zeros((4, 5, 2), np.float32)
    hidden = np.ones((4, 5), bool)
    for forward in (True, False):
        warped, valid = flowgru.warp(depth, flow, forward=forward, occluded=hidden)
        assert not np.asarray(valid).any() and not np.asarray(warped).any()
    outside, valid = flowgru.warp(depth, flow + 99)
    assert not np.asarray(valid).any() and not np.asarray(outside).any()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("direction", [0, 1])
def test_where_a_flow_is_not_finite_a_pixel_is_not_seen_and_its_neighbours_are(bad, direction):
    flows = np.zeros((2, 2, 4, 5), np.float32)
    flows[direction, :, 1, 2] = bad
    hidden = np.asarray(flowgru.occlusion(*flows))
    assert hidden[1, 2] and hidden.sum() == 1


def test_what_is_carried_along_keeps_its_own_value_where_nothing_arrives():
    values = torch.randn(1, 2, 4, 5)
    carried = splat(values, torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1).expand_as(values))
    assert torch.equal(carried[..., 1:], values[..., :-1]) and torch.equal(carried[..., 0], values[..., 0])


def test_forward_and_then_backward_is_the_picture_where_both_are_known():
    flow = np.full_like(FLOW, (3, -2))
    there, arrived = flowgru.warp(RGB, flow, forward=True)
    assert np.array_equal(there[:-2, 3:], RGB[2:, :-3]) and arrived.sum() == (HEIGHT - 2) * (WIDTH - 3)
    assert not there[~arrived].any()
    back, valid = flowgru.warp(there, flow)
    assert np.array_equal(back[valid], RGB[valid]) and valid.sum() == arrived.sum()


@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e10])
def test_a_pixel_of_unknown_flow_takes_no_part(forward, value):
    flow = np.zeros_like(FLOW)
    flow[5, 6, 1] = value
    picture, valid = flowgru.warp(RGB / 255, flow, forward=forward)
    expected = np.ones(SIZE, bool)
    expected[5, 6] = False
    assert np.array_equal(valid, expected) and not picture[5, 6].any() and np.isfinite(picture).all()
    np.testing.assert_allclose(picture[valid], RGB[valid] / 255, atol=1e-6)


def test_forward_hidden_pixels_are_left_out_and_not_averaged_in():
    flow = np.zeros_like(FLOW)
    flow[:, 4, 0] = 1  # column 4 moves over column 5, which it hides
    hidden = np.zeros(SIZE, bool)
    hidden[:, 5] = True
    mixed, _ = flowgru.warp(RGB, flow, forward=True)
    seen, valid = flowgru.warp(RGB, flow, forward=True, occluded=hidden)
    assert np.array_equal(seen[:, 5], RGB[:, 4]) and not np.array_equal(mixed[:, 5], RGB[:, 4])
    assert not valid[:, 4].any() and valid[:, :4].all() and valid[:, 5:].all()
    back, valid = flowgru.warp(RGB, flow, occluded=torch.from_numpy(hidden))
    assert not valid[:, 5].any() and not back[:, 5].any() and np.array_equal(back[:, 4], RGB[:, 5])


@pytest.mark.parametrize(
    "wrong", [np.zeros((3, 4), bool), np.zeros(SIZE, np.uint8), np.zeros((1, *SIZE), bool), "a.png"]
)
def test_a_mask_that_does_not_fit_is_refused(wrong):
    assert "occluded is" in refused(lambda: flowgru.warp(RGB, FLOW, occluded=wrong))


def test_a_forward_warp_keeps_the_gradient_of_picture_and_flow():
    first = torch.rand(1, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    flow = (0.3 * torch.rand(1, 2, 5, 6, dtype=torch.float64) + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda *given: forward_warp(*given)[0], (first, flow))


# The command


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A pair's second picture b.png, its flow a.flo, and the mask of what is hidden."""
    write_image(tmp_path / "b.png", RGB)
    flowgru.write_flow(tmp_path / "a.flo", FLOW, np.arange(WIDTH * HEIGHT).reshape(SIZE) % 7 > 0)
    write_image(tmp_path / "hidden.png", np.repeat((ALPHA > 200).astype(np.uint8) * 255, 3, axis=2))
    return tmp_path


def run(files: Path, *words: str) -> int:
    return main(["warp", *(word.format(files) for word in words)])


@pytest.mark.parametrize("forward", [False, True])
def test_the_command_does_what_the_function_does(files, forward, capsys):
    words = ["--output", "{0}/out.png", "--mask", "{0}/known.png", "--occlusion", "{0}/hidden.png"]
    assert run(files, "{0}/b.png", "{0}/a.flo", *words, *["--forward"] * forward) == 0
    left_out = ~flowgru.read_flow(files / "a.flo").valid | (ALPHA[..., 0] > 200)
    expected, valid = flowgru.warp(RGB, FLOW, forward=forward, occluded=left_out)
    assert np.array_equal(read_image(files / "out.png"), expected) and 0.2 < valid.mean() < 0.8
    assert np.array_equal(read_image(files / "known.png")[..., 0], valid * 255)
    said = capsys.readouterr().out
    assert f"wrote {files}/out.png and {files}/known.png, {valid.mean():.1%} of the pixels are known" in said


def test_an_occlusion_mask_that_is_white_nowhere_is_refused(files, capsys):
    write_image(files / "ones.png", np.ones((*FLOW.shape[:2], 3), np.uint8))
    assert (
        run(files, "{0}/b.png", "{0}/a.flo", "--forward", "--occlusion", "{0}/ones.png", "--output", "{0}/o.png") == 3
    )
    assert "ones.png has levels from 0 to 1: a mask is white (255) where it holds" in capsys.readouterr().err


@pytest.mark.parametrize("format", [name for name, format in FLOW_FORMATS.items() if format.encode])
def test_every_flow_format_is_warped_with(files, format):
    suffix = FLOW_FORMATS[format].suffix
    flowgru.write_flow(files / f"flow{suffix}", FLOW)
    assert run(files, "{0}/b.png", f"{{0}}/flow{suffix}", "--output", "{0}/out.ppm") == 0
    assert np.array_equal(read_image(files / "out.ppm"), flowgru.warp(RGB, FLOW).picture)


@pytest.mark.parametrize(
    ("name", "stored", "meant"),
    [
        ("deep.png", RGB[..., 0].astype(np.uint16) * 257, np.repeat(RGB[..., :1], 3, axis=2)),
        ("clear.png", np.concatenate([RGB, ALPHA], axis=2), over_black(RGB).astype(np.uint8)),
        ("grey.tif", RGB[..., 0], np.repeat(RGB[..., :1], 3, axis=2)),
    ],
)
def test_every_kind_of_picture_is_warped_as_it_is_read(files, name, stored, meant):
    Image.fromarray(stored).save(files / name)
    assert run(files, f"{{0}}/{name}", "{0}/a.flo", "--output", "{0}/out.png") == 0
    known = flowgru.read_flow(files / "a.flo")
    assert np.array_equal(read_image(files / "out.png"), flowgru.warp(meant, known.flow, occluded=~known.valid).picture)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["{0}/b.png", "--output", "{0}/o.png"], 2, "expected a picture and then a flow file"),
        (["{0}/b.png", "{0}/a.flo", "{0}/a.flo", "--output", "{0}/o.png"], 2, "got 3 inputs"),
        (
            ["{0}/small.png", "{0}/a.flo", "--output", "{0}/o.png"],
            2,
            "small.png is 8x9 px (height x width) and the flow",
        ),
        (
            ["{0}/b.png", "{0}/a.flo", "--occlusion", "{0}/small.png", "--output", "{0}/o.png"],
            2,
            "small.png is 8x9 px (height x width)",
        ),
        (["{0}/b.png", "{0}/a.flo", "--output", "{0}/b.png", "--overwrite"], 2, "--output {0}/b.png would replace an"),
        (["{0}/b.png", "{0}/a.flo", "--output", "{0}/o.png", "--mask", "{0}/a.flo"], 2, "--mask {0}/a.flo would"),
        (["{0}/b.png", "{0}/a.flo", "--output", "{0}/o.png", "--mask", "{0}/o.png"], 2, "name two files"),
        (["{0}/b.png", "{0}/a.flo", "--output", "{0}/o.gif"], 2, "the suffix must be one of .png"),
        (["{0}/b.png", "{0}/a.flo", "--output", "{0}/o.png", "--mask", "{0}/o.gif"], 2, "the suffix must be one of"),
        (["{0}/b.png", "{0}/a.flo", "--output", "{0}/there.png"], 2, "there.png is already there: give --overwrite"),
        (["{0}/b.png", "{0}/a.flo", "--output", "{0}"], 2, "is a folder: name a file"),
        (["{0}/b.png", "{0}/a.flo"], 2, "--output must be given"),
        (["{0}/none.png", "{0}/a.flo", "--output", "{0}/o.png"], 3, "none.png"),
        (["{0}/b.png", "{0}/none.flo", "--output", "{0}/o.png"], 3, "none.flo"),
        (
            ["{0}/a.flo", "{0}/b.png", "--output", "{0}/o.png"],
            2,
            "b.png: expected the picture first and then the flow file",
        ),
        (["{0}/a.flo", "{0}/a.flo", "--output", "{0}/o.png"], 3, "a.flo cannot be read as a picture"),
        (
            ["{0}/b.png", "{0}/a.flo", "--output", "{0}/o.png", "--mask", "{0}/../{1}/o.png"],
            2,
            "--output and --mask are both {0}/../{1}/o.png: name two files",
        ),
        (
            ["{0}/b.png", "{0}/a.flo", "--output", "{0}/b.png/o.png"],
            2,
            "--output {0}/b.png/o.png is to lie in {0}/b.png, which is a file",
        ),
        (["{0}/b.png", "{0}/a.flo", "--output", "{0}/b.png/x/o.png"], 2, "is to lie in {0}/b.png, which is a file"),
        (["{0}/" + 300 * "b", "{0}/a.flo", "--output", "{0}/o.png"], 3, "cannot read"),
    ],
)
def test_what_cannot_be_warped_is_one_line_and_nothing_is_written(files, words, code, said, capsys):
    write_image(files / "small.png", OTHER[:8, :9])
    (files / "there.png").write_bytes(b"precious")
    before = {path: path.read_bytes() for path in files.iterdir()}
    assert run(files, *(word.format(files, files.name) for word in words)) == code
    assert said.format(files, files.name) in only_error(capsys)
    assert {path: path.read_bytes() for path in files.iterdir()} == before
