"""The generated pairs are a pure function of settings and index, and their flow and occlusion are true."""

import dataclasses
import inspect
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from flowgru.config import SyntheticSettings
from flowgru.data.draws import Draws, stream_seed
from flowgru.data.sample import FlowSample
from flowgru.data.synthetic.layers.collage import draw_layers
from flowgru.data.synthetic.motion import Motion, about, draw_waves
from flowgru.data.synthetic.pairs import SyntheticPairs
from flowgru.data.synthetic.photos import photo_crops, photo_paths
from flowgru.data.synthetic.rendering import pixel_grid
from flowgru.data.synthetic.textures import bank_of
from flowgru.errors import InputFileError, RequestError
from flowgru.files.bounded import MAX_PIXELS

SMALL = SyntheticSettings(height=96, width=128, num_textures=16)
CLEAN = dataclasses.replace(SMALL, height=192, width=256, colour=0.0, shadow=0.0, blur=0.0, noise=0.0)
"""Nothing but motion differs between the pictures."""


def assert_same(one: FlowSample, other: FlowSample) -> None:
    for name, value in one._asdict().items():
        expected = getattr(other, name)
        assert torch.equal(value, expected) if isinstance(value, Tensor) else value == expected, name


def warped_back(second: Tensor, flow: Tensor) -> Tensor:
    """The second picture sampled where the flow points, [3, H, W]."""
    height, width = flow.shape[1:]
    targets = pixel_grid(height, width, flow.device) + flow
    size = torch.tensor([width, height]).view(2, 1, 1)
    places = ((2 * targets + 1) / size - 1).permute(1, 2, 0)
    return F.grid_sample(second[None], places[None], padding_mode="border", align_corners=False)[0]


@pytest.fixture(scope="module")
def clean() -> list[FlowSample]:
    """Sixty pairs of CLEAN."""
    return list(SyntheticPairs(CLEAN, length=60))


def first_of_each(samples: list[FlowSample]) -> FlowSample:
    return samples[0]


def test_a_pair_is_a_function_of_settings_and_index_whoever_asks() -> None:
    pairs = SyntheticPairs(SMALL, length=8)
    order = [5, 0, 7, 2]
    loader = DataLoader(Subset(pairs, order), num_workers=2, batch_size=1, collate_fn=first_of_each)
    for index, from_worker in zip(order, loader, strict=True):
        assert_same(pairs[index], from_worker)
        assert_same(pairs[index], SyntheticPairs(SMALL)[index])


def test_other_indices_and_seeds_give_other_pairs() -> None:
    pairs, others = SyntheticPairs(SMALL), SyntheticPairs(dataclasses.replace(SMALL, seed=1))
    firsts = [pairs[0].first, pairs[1].first, pairs[10**9].first, others[0].first]
    for k, one in enumerate(firsts):
        for other in firsts[k + 1 :]:
            assert float((one - other).abs().mean()) > 0.05
    seed = inspect.unwrap(stream_seed)  # without the type checks, which take 20 times as long
    assert len({seed(3, index) for index in range(200_000)}) == 200_000


def test_length_is_for_iteration_only() -> None:
    pairs = SyntheticPairs(SMALL, length=3)
    assert len(pairs) == 3
    assert [sample.name for sample in pairs] == [f"synthetic/0/{index}" for index in range(3)]
    with pytest.raises(IndexError):
        pairs[-1]


def test_a_motion_and_its_inverse_cancel() -> None:
    points = pixel_grid(150, 200, torch.device("cpu"))
    draws = Draws(0, 0)
    for _ in range(20):
        projection = about((90.0, 60.0), (40.0, -25.0), turn=0.5, zoom=-0.3, shear=0.2, tilt=(2e-4, -1e-4))
        motion = Motion(projection, draw_waves(draws, 24.0, 400.0, 30.0, torch.device("cpu")))
        assert motion.waves is not None and motion.waves.reach > 0.5
        assert float((motion.inverse(motion.forward(points)) - points).norm(dim=0).max()) < 1e-3
        assert float((motion.forward(motion.inverse(points)) - points).norm(dim=0).max()) < 1e-3


def test_every_drawn_layer_can_be_inverted_and_stays_in_its_box() -> None:
    for index in range(12):
        for layer in draw_layers(Draws(0, index), SMALL, bank_of(SMALL, torch.device("cpu")))[0]:
            if layer.shape is None:
                continue
            left, top, right, bottom = layer.shape.box
            xs, ys = torch.linspace(left, right, 40), torch.linspace(top, bottom, 40)
            points = torch.stack(torch.meshgrid(xs, ys, indexing="xy"))
            moved = layer.motion.forward(points)
            assert float((layer.motion.inverse(moved) - points).norm(dim=0).max()) < 1e-3
            inside = layer.shape.alpha(points) > 0
            assert not inside[[0, -1]].any() and not inside[:, [0, -1]].any()
            left, top, right, bottom = layer.motion.box_after(left, top, right, bottom)
            assert moved[0].min() >= left - 1e-2 and moved[0].max() <= right + 1e-2
            assert moved[1].min() >= top - 1e-2 and moved[1].max() <= bottom + 1e-2


def test_the_flow_restores_the_first_picture_and_the_occlusion_says_where(clean: list[FlowSample]) -> None:
    visible, hidden, negated = [], [], []
    for sample in clean[:40]:
        assert sample.occlusion is not None
        error = (warped_back(sample.second, sample.flow) - sample.first).abs().mean(0)
        wrong = (warped_back(sample.second, -sample.flow) - sample.first).abs().mean(0)
        seen = ~sample.occlusion
        visible.append(error[seen].mean())
        hidden.append(error[sample.occlusion])
        moving = seen & (sample.flow.norm(dim=0) > 2)
        negated.append(wrong[moving])
    # What remains is the interpolation of sharp textures and the mixed colours of antialiased edges.
    assert float(torch.stack(visible).mean()) < 0.006
    assert float(torch.stack(visible).max()) < 0.02
    assert float(torch.cat(negated).mean()) > 0.08
    assert float(torch.cat(hidden).mean()) > 0.1


def test_displacements_are_heavy_tailed_with_still_pairs_among_them(clean: list[FlowSample]) -> None:
    lengths = torch.stack([sample.flow.norm(dim=0)[::4, ::4].flatten() for sample in clean])
    tenth, median, ninth = lengths.quantile(torch.tensor([0.1, 0.5, 0.9])).tolist()
    assert tenth < 0.3 and 0.7 < median < 4 and 15 < ninth < 50
    assert 80 < float(lengths.max()) < 1.2 * CLEAN.furthest * 320
    still_pairs = int((lengths.amax(1) < 0.4).sum())
    assert 2 <= still_pairs <= 15


def test_static_share_gives_pairs_that_stand_still() -> None:
    still = SyntheticPairs(dataclasses.replace(SMALL, static_share=1.0))
    longest = [float(still[index].flow.norm(dim=0).max()) for index in range(20)]
    assert max(longest) < 0.4
    assert 0.0 in longest and any(longest)


@pytest.mark.parametrize(("height", "width"), [(101, 77), (16, 16), (440, 1024)])
def test_any_size(height: int, width: int) -> None:
    settings = dataclasses.replace(SMALL, height=height, width=width)
    first, second, flow, valid, occlusion, *_ = SyntheticPairs(settings)[4]
    assert occlusion is not None
    assert first.shape == second.shape == (3, height, width)
    assert flow.shape == (2, height, width) and valid.shape == occlusion.shape == (height, width)
    for picture in (first, second):
        assert picture.dtype == torch.float32 and picture.min() >= 0 and picture.max() <= 1
        assert torch.equal(picture, (picture * 255).round() / 255)
    assert flow.isfinite().all() and valid.all()


def test_a_folder_of_photos_paints_layers(tmp_path: Path) -> None:
    for number, grey in enumerate((40, 90, 200)):
        Image.new("RGB", (300, 200), (grey, 255 - grey, grey)).save(tmp_path / f"{number}.png")
    settings = dataclasses.replace(CLEAN, height=64, width=64, photos=str(tmp_path), num_textures=4)
    with_photos, without = SyntheticPairs(settings), SyntheticPairs(dataclasses.replace(settings, photos=None))
    assert any(not torch.equal(with_photos[index].first, without[index].first) for index in range(3))
    assert_same(with_photos[1], SyntheticPairs(settings)[1])


@pytest.mark.parametrize("num_photos", [1, 19, 64, 100, 127, 300])
def test_crops_are_spread_over_the_photographs(num_photos: int, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr("flowgru.data.synthetic.photos.read_photo", lambda path: read.append(int(path.name)))
    monkeypatch.setattr("flowgru.data.synthetic.photos.photo_crop", lambda draws, photo, side: torch.zeros(3, 8, 8))
    photo_crops(Draws(0, 0), tuple(Path(str(number)) for number in range(num_photos)), 64, 8)
    used = sorted({*read})
    gaps = [after - before for before, after in pairwise([*used, used[0] + num_photos])]
    assert len(read) == 64 and len(used) == min(64, num_photos) and max(gaps) <= -(-num_photos // 64)


def test_scikit_images_photos_are_found_without_a_download() -> None:
    pytest.importorskip("skimage")
    assert len(photo_paths("skimage")) >= 5


def test_photos_that_are_not_there_are_the_users_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="no folder"):
        SyntheticPairs(dataclasses.replace(SMALL, photos=str(tmp_path / "nowhere")))
    with pytest.raises(RequestError, match="no pictures"):
        SyntheticPairs(dataclasses.replace(SMALL, photos=str(tmp_path)))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(InputFileError, match=r"broken\.png"):
        SyntheticPairs(dataclasses.replace(SMALL, photos=str(tmp_path)))[0]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"pip install flowgru\[train\]"):
        SyntheticPairs(dataclasses.replace(SMALL, photos="skimage"))


@pytest.mark.parametrize(
    "wrong", [{"height": 8}, {"layers": (5, 2)}, {"layers": (0, 300)}, {"speed": (0.0, 1.0)}, {"num_textures": 0}]
)
def test_settings_that_cannot_be_drawn_from_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        SyntheticSettings(**wrong)  # pyright: ignore[reportArgumentType]


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 300 300\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("name", ["own.png", "own.jpg", "own.pgm", "own.tif"])
def test_a_photo_that_is_a_program_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def start(*words: object, **_: object) -> None:
        raise AssertionError(f"{words} was started")

    for starter in ("Popen", "run", "check_call", "call", "check_output"):
        monkeypatch.setattr(f"subprocess.{starter}", start)
    (tmp_path / name).write_bytes(POSTSCRIPT)
    with pytest.raises(InputFileError, match=rf"{name} cannot be read as a picture .*; remove it from the photos"):
        SyntheticPairs(dataclasses.replace(SMALL, photos=str(tmp_path)))[0]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_photo_larger_than_any_picture_may_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "large.ppm").write_bytes(b"P6 10000 17000 255\n")
    with pytest.raises(InputFileError, match=rf"17000x10000 px .*: at most {MAX_PIXELS} pixels are read; remove it"):
        SyntheticPairs(dataclasses.replace(SMALL, photos=str(tmp_path)))[0]
