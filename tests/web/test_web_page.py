"""The page as visitors use it, in a browser: two frames, a clip, what cannot be read, what is too large, two at once."""

import io
import re
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media import moving_frames, noisy_frames, write_clip
from PIL import Image

from flowgru.data.formats.flow_files import read_flow
from flowgru.data.formats.images import write_image
from flowgru.data.video.frames import open_frames


@pytest.fixture
def frames(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, frame in zip(paths, moving_frames(2), strict=True):
        write_image(path, frame)
    return paths


def give(page: Any, place: str, path: Path) -> None:
    page.locator(f"{place} input[type=file]").set_input_files(path)


def give_two(page: Any, frames: list[Path]) -> None:
    for place, path in zip(("#first", "#second"), frames, strict=True):
        give(page, place, path)
        page.locator(f"{place} img").wait_for()


def give_clip(page: Any, path: Path) -> None:
    page.get_by_role("tab", name="A clip").click()
    give(page, "#clip", path)
    page.locator("#clip video").wait_for()


def state(page: Any, begins: str) -> str:
    """What stands under State, once it begins so."""
    page.wait_for_function("begins => document.querySelector('#status textarea').value.startsWith(begins)", arg=begins)
    return page.locator("#status textarea").input_value()


def shown(page: Any, place: str, unlike: bytes = b"") -> bytes:
    """The file of a picture, once it is another one."""
    for _ in range(200):
        address = page.locator(f"{place} img").get_attribute("src")
        content = page.request.get(address).body()
        if content != unlike:
            return content
        page.wait_for_timeout(50)
    raise AssertionError(f"{place} stays as it is")


def array(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def taken_home(page: Any, kind: str, folder: Path) -> Path:
    page.locator("#kind").get_by_label(kind).check()
    page.click("#make")
    with page.expect_download() as download:
        page.locator("#file a[download]").first.click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_two_pictures_with_the_way_back(page, frames, tmp_path):
    give_two(page, frames)
    page.get_by_text("Settings").click()
    page.get_by_label("Backward flow and occlusion too").check()
    page.click("#estimate-pair")
    assert "of 48x64 px (height x width); full colour at" in state(page, "1 flow ")
    frame, flow = shown(page, "#frame"), shown(page, "#flow")
    assert np.abs(array(frame).astype(int) - moving_frames(1)[0]).mean() < 6 and array(flow).shape == (48, 64, 3)

    page.get_by_label("Arrows over the frame").check()
    assert shown(page, "#frame", unlike=frame) != frame
    page.locator("#what").get_by_label("occlusion").check()
    assert len(np.unique(array(shown(page, "#flow", unlike=flow)))) <= 2

    box = page.locator("#frame img").bounding_box()
    page.locator("#frame img").click(position={"x": box["width"] * 0.5, "y": box["height"] * 0.5})
    page.wait_for_function("document.querySelector('#motion textarea').value.startsWith('x ')")
    said = page.locator("#motion textarea").input_value()
    place = re.match(r"x (\d+), y (\d+): flow u ([+-][\d.]+), v ([+-][\d.]+) px; length ([\d.]+) px; direction", said)
    assert place is not None and abs(int(place[1]) - 32) <= 1 and abs(int(place[2]) - 24) <= 1, said
    assert said.endswith("seen in the second frame")

    home = taken_home(page, "Middlebury's .flo", tmp_path)
    with zipfile.ZipFile(home) as archive:
        assert sorted(archive.namelist()) == ["a.flo", "a_backward.flo", "a_occlusion.png"]
        archive.extract("a.flo", tmp_path)
    u, v = read_flow(tmp_path / "a.flo").flow[int(place[2]), int(place[1])]
    assert (f"{u:+.2f}", f"{v:+.2f}") == place.groups()[2:4]


def test_a_clip_is_scrubbed_through_and_taken_home(page, tmp_path):
    give_clip(page, write_clip(tmp_path / "clip.mp4", moving_frames(6)))
    page.click("#estimate-clip")
    said = state(page, "3 flows ")
    assert "of 6 frames the first 4 are used, which is the limit here" in said
    first = shown(page, "#frame")
    page.locator("#frame img").click()
    page.wait_for_function("document.querySelector('#motion textarea').value.startsWith('x ')")
    told = page.locator("#motion textarea").input_value()
    page.locator("#number input[type=number]").fill("3")
    page.locator("#number input[type=number]").press("Enter")
    third = array(shown(page, "#frame", unlike=first)).astype(int)
    apart = [np.abs(third - frame).mean() for frame in moving_frames(4)]
    assert apart.index(min(apart)) == 2
    now = page.locator("#motion textarea").input_value()  # of the same pixel, in the pair that is shown
    assert now != told and now.split(":")[0] == told.split(":")[0]
    home = taken_home(page, "a video of the frames beside their flow", tmp_path)
    (video,) = open_frames([home])
    assert [frame.image.shape for frame in video] == 3 * [(48, 128, 3)]


def test_what_cannot_be_done_is_the_line_of_the_command_without_the_servers_folders(page, frames):
    first = frames[0]
    broken, large, other = (first.with_name(f"{name}.png") for name in ("broken", "large", "other"))
    broken.write_bytes(b"no picture")
    write_image(large, moving_frames(1, 200, 300)[0])
    write_image(other, moving_frames(1, 48, 70)[0])
    for place, given, said in (
        (None, None, "nothing was given yet"),
        ("#first", first, "one is missing"),
        ("#second", broken, "error: broken.png "),
        ("#second", other, "both frames of a pair must have one size"),
        ("#first", large, "large.png is 200x300 px (height x width): at most 0.03 million pixels"),
    ):
        if place is not None and given is not None:
            if page.locator(place).get_by_label("Clear").count():
                page.locator(place).get_by_label("Clear").click()
            with page.expect_response(re.compile("/upload")):
                give(page, place, given)
            page.locator(f"{place} img").wait_for(state="attached")
        page.click("#estimate-pair")
        page.wait_for_function("said => document.querySelector('#status textarea').value.includes(said)", arg=said)
        line = page.locator("#status textarea").input_value()
        assert line.startswith("error: ") and "/" not in line and not page.locator("#flow").is_visible()


def test_what_is_damaged_in_a_clip_is_told_without_the_servers_folders_and_arrows_stay(page, tmp_path):
    clip = write_clip(tmp_path / "clip.mkv", noisy_frames(4))
    give_clip(page, write_clip(tmp_path / "whole.mp4", moving_frames(3)))
    page.click("#estimate-clip")
    state(page, "2 flows ")
    plain = shown(page, "#frame")
    page.get_by_label("Arrows over the frame").check()
    arrows = shown(page, "#frame", unlike=plain)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 3 // 4])
    page.locator("#clip").get_by_label("Clear").click()
    give(page, "#clip", clip)
    page.locator("#clip video").wait_for(state="attached")
    page.click("#estimate-clip")
    page.wait_for_function("document.querySelector('#status textarea').value.includes('clip.mkv')")
    said = page.locator("#status textarea").input_value()
    assert re.match(r"\d flows? ", said) and "/" not in said
    arrows = shown(page, "#frame", unlike=arrows)
    page.get_by_label("Arrows over the frame").uncheck()
    assert shown(page, "#frame", unlike=arrows) != arrows


def test_a_browser_is_let_ask_no_other_address(browser, served):
    with browser.new_page() as page:
        page.goto(served.address)
        refused = page.evaluate(
            "() => new Promise(done => {"
            "document.addEventListener('securitypolicyviolation', event => done(event.blockedURI));"
            "fetch('http://localhost:9/else').catch(() => setTimeout(() => done(''), 1000)) })"
        )
        assert refused == "http://localhost:9/else"
        page.get_by_role("tab", name="A clip").click()
        assert not page.locator("#clip").get_by_label("Trim").is_visible()


def test_a_file_that_is_too_large_is_refused_with_the_limit(page, tmp_path):
    large = tmp_path / "large.png"
    write_image(large, noisy_frames(1, 300, 300)[0])
    assert large.stat().st_size > 200_000
    give(page, "#first", large)
    page.get_by_text(re.compile("exceed", re.IGNORECASE)).first.wait_for()
    assert page.locator("#first img").count() == 0


def test_two_visitors_at_once_get_their_own(page, browser, served, frames, tmp_path):
    other_frames = [tmp_path / "c.png", tmp_path / "d.png"]
    for path, frame in zip(other_frames, moving_frames(2, 32, 40), strict=True):
        write_image(path, frame)
    with browser.new_page() as other:
        other.goto(served.address)
        give_two(page, frames)
        give_two(other, other_frames)
        page.click("#estimate-pair")
        other.click("#estimate-pair")
        assert "of 48x64 px (height x width)" in state(page, "1 flow ") and "of 32x40 px" in state(other, "1 flow ")
        assert array(shown(page, "#flow")).shape == (48, 64, 3) and array(shown(other, "#flow")).shape == (32, 40, 3)
        (own, others) = sorted((served.temporary).glob("flowgru-web-*/visitors/*"))
        for path in (own, others):
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(f"{served.address}/gradio_api/file={next(path.glob('*/*.flo'))}", timeout=10)
    for _ in range(200):  # who leaves takes what was estimated along
        if not (own.exists() and others.exists()):
            break
        page.wait_for_timeout(50)
    assert own.exists() != others.exists()
