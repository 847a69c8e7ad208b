"""A CSV file makes a data set of one's own files, and says in which row it is wrong."""

import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from layouts.trees import flow, mask, picture

from flowgru.data.formats.images import write_image
from flowgru.data.sets.opening import open_dataset, open_datasets
from flowgru.errors import InputFileError


@pytest.fixture
def manifest(tmp_path):
    """A folder with two pictures and two flows, and a function that writes the manifest beside it."""
    for number in (1, 2):
        picture(tmp_path / f"clip/{number}.png", number)
    flow(tmp_path / "clip/there.flo", 3, 0)
    flow(tmp_path / "clip/back.flo", -3)
    mask(tmp_path / "clip/known.png", 0, 1, 2)

    def write(text: str, encoding: str = "utf-8") -> str:
        path = tmp_path / "my pairs.csv"
        path.write_text(text, encoding)
        return str(path)

    return write


ROW = "clip/1.png,clip/2.png,clip/there.flo"


def test_rows_become_samples_in_their_order(manifest):
    name = manifest(f"first,second,flow\n{ROW}\n\nclip/2.png,clip/1.png,clip/back.flo\n")
    pairs = open_dataset(name, "nowhere")
    assert [pair.name for pair in pairs.pairs] == ["clip/there", "clip/back"]
    assert pairs.num_full == len(pairs) == 2 and pairs.name == name and pairs.flow_folder == "clip"
    there, back = pairs
    assert there.name == "my pairs.csv/clip/there" and there.occlusion is None
    assert [round(part.max().item() * 255) for part in (there.first, there.second, back.first)] == [1, 2, 2]
    assert (~there.valid).any(dim=0).nonzero().flatten().tolist() == [0] and back.flow[0].max() == -3


def test_a_valid_picture_marks_unknown_pixels_black(manifest):
    sample = open_dataset(manifest(f"first,second,flow,valid\n{ROW},clip/known.png\n"), ".")[0]
    assert sample.valid.any(dim=0).nonzero().flatten().tolist() == [1, 2]  # the flow itself leaves out column 0


@pytest.mark.parametrize("colour", [(0, 0, 255), (0, 1, 0), (255, 0, 0)])
def test_any_colour_but_black_marks_known_pixels(colour, manifest, tmp_path):
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[:, 3:] = colour
    write_image(tmp_path / "clip/colour.png", pixels)
    sample = open_dataset(manifest(f"first,second,flow,valid\n{ROW},clip/colour.png\n"), ".")[0]
    assert sample.valid.any(dim=0).nonzero().flatten().tolist() == [3, 4, 5, 6, 7]


def test_names_and_sets_of_the_rows_are_kept(manifest):
    text = f"name,set,first,second,flow\nstart,easy,{ROW}\n,,{ROW}\n"
    pairs = open_dataset(manifest(text), ".")
    assert [pair.name for pair in pairs.pairs] == ["start", "clip/there"]
    assert pairs.groups == ["easy", pairs.name]


def test_further_columns_are_kept_and_named_once(manifest):
    text = f"first,second,flow,weather,vaild\n{ROW},rain,\nclip/2.png,clip/1.png,clip/back.flo,sun,x\n"
    with pytest.warns(UserWarning) as caught:
        pairs = open_dataset(manifest(text), ".")
    (said,) = [str(one.message) for one in caught]
    assert "say nothing to flowgru: weather, vaild (did you mean 'valid'?)" in said
    assert [dict(pair.others) for pair in pairs.pairs] == [
        {"weather": "rain", "vaild": ""},
        {"weather": "sun", "vaild": "x"},
    ]


def test_an_invalid_picture_marks_white_what_is_not_to_be_judged(manifest):
    sample = open_dataset(manifest(f"first,second,flow,invalid\n{ROW},clip/known.png\n"), ".")[0]
    assert sample.valid.any(dim=0).nonzero().flatten().tolist() == [3, 4, 5, 6, 7]


@pytest.mark.parametrize(("bits", "most", "factor"), [(8, 1, 255), (8, 100, 2), (16, 1, 65535), (16, 100, 655)])
@pytest.mark.parametrize("column", ["invalid", "valid"])
@pytest.mark.parametrize("shape", [(), (3,)], ids=["grey", "RGB"])
def test_a_mask_that_is_white_nowhere_and_not_black_is_refused(bits, most, factor, column, shape, manifest, tmp_path):
    pixels = np.zeros((6, 8, *shape), np.uint8 if bits == 8 else np.uint16)
    pixels[:, 3:] = most
    cv2.imwrite(str(tmp_path / "clip/faint.png"), pixels)
    pairs = open_dataset(manifest(f"first,second,flow,{column}\n{ROW},clip/faint.png\n"), ".")
    if (bits, column) == (8, "valid"):  # what is not black is valid
        assert pairs[0].valid.sum() == 6 * 5
        return
    said = (
        rf"faint.png has levels from 0 to {most}: .* white \({2**bits - 1}\) where it holds, so multiply it by {factor}"
    )
    with pytest.raises(InputFileError, match=said):
        pairs[0]


def test_a_mask_that_is_black_says_that_nothing_is_left_out(manifest, tmp_path):
    for bits, kind in ((8, np.uint8), (16, np.uint16)):
        cv2.imwrite(str(tmp_path / f"clip/black{bits}.png"), np.zeros((6, 8), kind))
        sample = open_dataset(manifest(f"first,second,flow,invalid\n{ROW},clip/black{bits}.png\n"), ".")[0]
        assert sample.valid.sum() == 6 * 7  # the flow itself leaves out column 0


def test_names_of_pairs_are_short_wherever_their_files_lie(manifest, tmp_path):
    there, back = (f"clip/1.png,clip/2.png,{tmp_path}/clip/{name}.flo" for name in ("there", "back"))
    named = open_dataset(manifest(f"first,second,flow\n{there}\n{back}\n"), ".")
    assert [pair.name for pair in named.pairs] == ["there", "back"]
    mixed = open_dataset(manifest(f"first,second,flow\n{ROW}\n{back}\n"), ".")
    assert len({pair.name for pair in mixed.pairs}) == 2


def test_manifests_of_one_name_are_told_apart(manifest, tmp_path):
    path = Path(manifest(f"first,second,flow\n{ROW}\n"))
    other = tmp_path / "other" / path.name
    other.parent.mkdir()
    other.write_text(path.read_text().replace("clip/", "../clip/"))
    labels = [pairs.label for pairs in open_datasets([str(path), str(other), str(path)], ".")]
    assert labels == [f"{tmp_path.name}/my pairs.csv", "other/my pairs.csv"]
    assert open_datasets([str(path)], ".")[0].label == "my pairs.csv"
    twice = [str(path), str(other), f"{path.parent}/./{path.name}"]
    assert [pairs.name for pairs in open_datasets(twice, ".")] == twice[:2]


def test_a_spreadsheets_csv_is_read(manifest):
    text = 'first,second,flow\r\n"clip/1.png" , clip/2.png,clip/there.flo\r\n'.replace('" ,', '",')
    assert len(open_dataset(manifest(text, "utf-8-sig"), ".")) == 1
    used_once = f"first,second,flow,,\n{ROW}, ,\n , , ,,\n{ROW.replace('there', 'back')}\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [pair.name for pair in open_dataset(manifest(used_once), ".").pairs] == ["clip/there", "clip/back"]


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "row 1 has no column 'first': expected a header like first,second,flow,"),
        ("first,second,flow\n", "lists no pair: below its header, it needs a line for each pair"),
        (f"{ROW}\n", "row 1 has no column 'first': expected a header like first,second,flow"),
        (f"first,second,flwo\n{ROW}\n", "row 1 has no column 'flow': did you mean 'flow' by 'flwo'? expected a header"),
        (f"first,second\n{ROW}\n", "row 1 has no column 'flow'"),
        (f"first,second,flow,flow\n{ROW}\n", "row 1 has a column twice"),
        (f"first,second,flow\n{ROW}\n{ROW},more\n", "row 3 has 4 cells and the header 3"),
        ("first,second,flow\nclip/1.png,,clip/there.flo\n", "row 2 has no second: expected first, second, flow"),
        (f"first,second,flow\n{ROW}\n\n{ROW}\n", "rows 2 and 4 are both called 'clip/there'"),
        (
            f"first,second,flow\n{ROW}\na.png,clip/2.png,b.flo\n",
            "lacks a.png (row 3), b.flo (row 3): correct the paths",
        ),
        ('first,second,flow\n"clip\n', "is no CSV in UTF-8"),
        (
            "first;second;flow\n",
            "row 1 has no column 'first': expected a header like first,second,flow,valid,invalid,set,",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_row(text, said, manifest):
    with pytest.raises(InputFileError) as caught:
        open_dataset(manifest(text), ".")
    assert said in str(caught.value) and "my pairs.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_a_manifest_that_is_no_text_or_is_not_there_is_refused(manifest, tmp_path):
    with pytest.raises(InputFileError, match="is no CSV in UTF-8"):
        open_dataset(manifest("first,Größe", "utf-16"), ".")
    with pytest.raises(InputFileError, match=r"cannot read .*none.csv: No such file"):
        open_dataset(str(tmp_path / "none.csv"), ".")


@pytest.mark.parametrize("column", ["first", "second", "flow", "valid"])
@pytest.mark.parametrize(
    "cell", ["/", ".", "./", "a" * 300 + ".png", "a\0b.png"], ids=["root", "dot", "here", "long", "nul"]
)
def test_a_cell_that_can_name_no_file_is_named_with_its_row(manifest, column, cell):
    cells = {
        "first": "clip/1.png",
        "second": "clip/2.png",
        "flow": "clip/there.flo",
        "valid": "clip/known.png",
        column: cell,
    }
    name = manifest(f"first,second,flow,valid\n{','.join(cells.values())}\n")
    with pytest.raises(InputFileError) as caught:
        open_dataset(name, "nowhere")
    assert f"{name} row 2: {column} " in str(caught.value) or "(row 2)" in str(caught.value)
    assert "\n" not in str(caught.value)
