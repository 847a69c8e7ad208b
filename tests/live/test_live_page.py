"""The page shows the newest picture to some at once, and to nobody who comes by another name."""

import io
import re
import urllib.error
import urllib.request
from http.client import HTTPResponse

import numpy as np
import pytest
from PIL import Image

from flowgru.live.page import MOST_WATCHERS, LivePage

PICTURE = np.full((40, 80, 3), (200, 30, 30), np.uint8)


def opened(address: str, **headers: str) -> HTTPResponse:
    return urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=10)


def next_picture(answer: HTTPResponse) -> np.ndarray:
    line = b""
    while not (length := re.match(rb"Content-Length: (\d+)", line)):
        line = answer.readline()
    assert answer.readline() == b"\r\n"
    return np.asarray(Image.open(io.BytesIO(answer.read(int(length[1])))))


def test_the_page_shows_each_newest_picture():
    with LivePage("127.0.0.1", 0) as page:
        assert b'<img src="stream"' in opened(page.address).read()
        page.show(PICTURE)
        with opened(f"{page.address}/stream") as answer:
            for picture in (PICTURE, PICTURE[..., ::-1]):
                page.show(np.ascontiguousarray(picture))
                while np.abs(next_picture(answer).astype(int) - picture).mean() > 3:
                    pass  # the one before


@pytest.mark.parametrize("host", ["127.0.0.1", "LOCALHOST", "127.1"])
@pytest.mark.parametrize("name, code", [("127.0.0.1:1", 200), ("localhost:1", 200), ("evil.example:1", 403)])
def test_a_page_from_elsewhere_that_leads_here_sees_nothing(host, name, code):
    with LivePage(host, 0) as page:
        try:
            assert opened(page.address, Host=name).status == code
        except urllib.error.HTTPError as error:
            assert error.code == code and page.address.encode() in error.read()


def test_one_too_many_is_told_so():
    with LivePage("127.0.0.1", 0) as page:
        watching = [opened(f"{page.address}/stream") for _ in range(MOST_WATCHERS)]
        with pytest.raises(urllib.error.HTTPError) as refused:
            opened(f"{page.address}/stream")
        assert refused.value.code == 503 and b"close one of them" in refused.value.read()
        for answer in watching:
            answer.close()
