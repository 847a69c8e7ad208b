"""A set says all of itself in its layout: its terms, its padding and how its masks are read."""

import pytest
from layouts.trees import WIDTH, flow, mask, picture

from flowgru.data.formats.images import read_image
from flowgru.data.sets.checking import check_dataset
from flowgru.data.sets.layouts import DATASETS, licence_of, padding_mode
from flowgru.data.sets.layouts.layout import Layout
from flowgru.data.sets.layouts.masks import Masks
from flowgru.data.sets.layouts.pairing import Listing, PairFiles
from flowgru.data.sets.opening import open_dataset


@pytest.fixture
def own_set(tmp_path, monkeypatch) -> str:
    """The name, with an underscore of its own, of a set of one pair whose mask is black where the flow is invalid."""
    picture(tmp_path / "Own/1.png", 0)
    picture(tmp_path / "Own/2.png", 0)
    flow(tmp_path / "Own/1.flo", 1)
    mask(tmp_path / "Own/mask.png", 0, 1)

    def list_pairs(folder):
        files = (folder / "1.png", folder / "2.png", folder / "1.flo")
        return Listing([PairFiles("1", *files, invalid=folder / "mask.png")], [], [])

    def read_masks(files):
        return Masks(invalid=read_image(files.invalid)[..., 0] == 0, occlusion=None)

    layout = Layout(("Own",), list_pairs, 1, "a web page", "Own: on request", padding="kitti", read_masks=read_masks)
    monkeypatch.setitem(DATASETS, "own_set", (layout,))
    return "own_set"


def test_terms_and_padding_are_those_of_the_layout(own_set):
    assert licence_of(own_set) == "Own: on request" and padding_mode(own_set) == "kitti"


@pytest.mark.parametrize("name", ["pairs.csv", "sintel_of_mine", "nothing"])
def test_what_is_no_set_has_terms_and_a_padding_too(name):
    assert licence_of(name) == f"{name}: as its owner allows" and padding_mode(name) == "sintel"


def test_masks_are_read_as_the_layout_says(own_set, tmp_path):
    sample = open_dataset(own_set, tmp_path)[0]
    assert sample.valid.float().mean() == 2 / WIDTH and sample.occlusion is None


def test_a_check_decodes_masks_as_the_layout_says(own_set, tmp_path):
    report = check_dataset(own_set, tmp_path, 1, lambda _: lambda: None)
    assert report.known == 2 / WIDTH
