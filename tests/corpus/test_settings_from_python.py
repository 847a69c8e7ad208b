"""What flowgru.corpus.run takes as settings, and what it refuses before anything is made."""

from contextlib import nullcontext

import pytest
from fake_cuda import cuda_with_values
from tables import csv_rows

import flowgru.corpus
from flowgru.errors import RequestError


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"fps": "8"}, "fps is '8': expected a number"),
        ({"workers": 1.5}, "workers is 1.5: expected a whole number"),
        ({"stride": True}, "stride is True: expected a whole number"),
        ({"resize": b"1"}, "resize is b'1': expected a text"),
        ({"polish": 1}, "polish is 1: expected true or false"),
        ({"iteration": 3}, "there is no setting iteration: did you mean 'iterations'"),
        ({"tiles": (0, 2)}, "--tiles is '0x2': expected ROWSxCOLUMNS"),
    ],
)
def test_python_refuses_a_setting_of_another_kind_before_the_folder_is(tmp_path, settings, said):
    with pytest.raises(RequestError, match=said):
        flowgru.corpus.run(tmp_path, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_python_takes_a_size_as_other_functions_do(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr("flowgru.corpus.driver.run_corpus", lambda inputs, settings: given.append(settings))
    for resize, tiles in ((0.5, (2, 3)), ((96, 128), "2x3"), ("96x128", "2x3")):
        flowgru.corpus.run(tmp_path, tmp_path / "out", resize=resize, tiles=tiles)
    assert [each.resize for each in given] == ["0.5", "96x128", "96x128"] and {each.tiles for each in given} == {"2x3"}


def test_a_gpu_gives_the_rows_of_a_cpu(corpus, videos, tmp_path):
    rows = []
    for device, place in (("cpu", nullcontext), ("cuda", cuda_with_values)):
        with place():
            assert corpus(videos / "a.mp4", "--device", device, "--output", tmp_path / device) == 0
        (found,) = csv_rows(tmp_path / device / "scores.csv")
        rows.append({name: float(value) for name, value in found.items() if name not in ("id", "seconds")})
    assert rows[0]["frames"] == 4 and rows[0]["length_mean"] > 0 and rows[0] == pytest.approx(rows[1], abs=1e-3)
