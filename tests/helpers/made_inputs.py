"""What people have, made for the tests: files that readers get wrong, and flows and pictures as they are in Python."""

import errno
import os
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from media import write_clip
from PIL import Image

from flowgru.errors import FlowgruError


def lock(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """Paths with this word in them may not be looked at, as in a folder that may be listed alone."""

    def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
        def look(path: Any, *more: Any, **options: Any) -> Any:
            if isinstance(path, str | os.PathLike) and word in os.fspath(path):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return real(path, *more, **options)

        return look

    for name in ("stat", "lstat"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))


Frames = Sequence[np.ndarray]
Maker = Callable[[Path, Frames], None]


def clip(**options: Any) -> Maker:
    """A video by write_clip, at 10 frames a second."""

    def make(path: Path, frames: Frames) -> None:
        write_clip(path, frames, **options)

    return make


def stream_clip(codec: str, pixel_format: str = "yuv420p", rate: Fraction | int = 10, **codec_options: str) -> Maker:
    """A video whose frames follow each other at a rate; frames of four channels keep their alpha."""

    def make(path: Path, frames: Frames) -> None:
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream(codec, rate=rate, options=codec_options)
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = pixel_format
            for index, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgba" if pixels.shape[2] == 4 else "rgb24")
                frame.pts, frame.time_base = index, 1 / Fraction(rate)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())

    return make


def with_display_matrix(matrix: Sequence[int]) -> Maker:
    """An MP4 whose track has the display matrix a, b, c, d."""

    def make(path: Path, frames: Frames) -> None:
        write_clip(path, frames)
        data = bytearray(path.read_bytes())
        a, b, c, d = (number << 16 for number in matrix)
        place = data.index(b"tkhd") + 44
        data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
        path.write_bytes(data)

    return make


def with_sound_first(path: Path, frames: Frames) -> None:
    """A Matroska file whose sound begins at 0 s and whose pictures begin at 2 s, 10 a second."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=10)
        video.height, video.width, video.pix_fmt = *frames[0].shape[:2], "yuv420p"
        sound: Any = container.add_stream("pcm_s16le", rate=8000)
        sound.layout = "mono"
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 16000 + 800 * len(frames)), np.int16), layout="mono")
        silence.sample_rate, silence.pts = 8000, 0
        container.mux(sound.encode(silence))
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = 20 + index, Fraction(1, 10)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        container.mux(sound.encode())


def turned_by_first_picture(codec: str, quarter_turns: int, *, mirrored: bool = False) -> Maker:
    """A raw stream whose first picture alone says, in an SEI message, how it lies."""

    def make(path: Path, frames: Frames) -> None:
        quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        data = write_clip(path, frames, codec=codec, codec_options=quiet).read_bytes()
        last = "1" if codec == "libx265" else "0100"  # it holds until another comes; no extension
        bits = f"0{mirrored:d}0{quarter_turns << 14:016b}{last}1".ljust(24, "0")
        payload = int(bits, 2).to_bytes(3, "big")
        start, unit = (b"\0\0\1\x4e\1", 39) if codec == "libx265" else (b"\0\0\1\6", 6)
        message = start + bytes([47, len(payload)]) + payload + b"\x80"
        # Behind the parameter sets: before the first message of another kind, which both encoders write.
        kinds = {
            place: data[place + 3] >> 1 & 63 if unit == 39 else data[place + 3] & 31
            for place in range(len(data) - 4)
            if data[place : place + 3] == b"\0\0\1"
        }
        place = next(place for place, kind in kinds.items() if kind in ({6, 5} if unit == 6 else {39, 19, 20}))
        path.write_bytes(data[:place] + message + data[place:])

    return make


def without_beginning(codec: str, num_lost: int, **codec_options: str) -> Maker:
    """A video whose first packets are lost, so that it begins between two key frames, of which every sixth frame is one."""

    def make(path: Path, frames: Frames) -> None:
        whole = path.with_stem("whole")
        options = {"g": "6", **codec_options}
        write_clip(whole, frames, codec=codec, codec_options=options)
        with av.open(str(whole)) as source, av.open(str(path), "w") as target:
            stream = source.streams.video[0]
            copied = target.add_stream_from_template(stream)
            for number, packet in enumerate(packet for packet in source.demux(stream) if packet.size):
                if number >= num_lost:
                    packet.stream = copied
                    target.mux(packet)

    return make


def renamed_codec(codec: str, old: bytes, new: bytes) -> Maker:
    """A video that claims to hold another codec."""

    def make(path: Path, frames: Frames) -> None:
        write_clip(path, frames, codec=codec)
        data = path.read_bytes()
        assert old in data
        path.write_bytes(data.replace(old, new))

    return make


def animation(durations: int | Sequence[int], **options: Any) -> Maker:
    """An animated picture by Pillow, each shown for so many milliseconds."""

    def make(path: Path, frames: Frames) -> None:
        first, *others = (Image.fromarray(frame) for frame in frames)
        first.save(path, save_all=True, append_images=others, duration=durations, **options)

    return make


# What callers from Python have

SIZE = HEIGHT, WIDTH = 24, 32
_RANDOM = np.random.default_rng(0)
FLOW = _RANDOM.integers(-12, 12, (*SIZE, 2)).astype(np.float32)
RGB = _RANDOM.integers(0, 256, (*SIZE, 3), np.uint8)
OTHER = np.roll(RGB, 1, axis=1)
ALPHA = _RANDOM.integers(0, 256, (*SIZE, 1), np.uint8)


def first(array: np.ndarray) -> np.ndarray:
    """The channels before the rows, in new memory."""
    return np.ascontiguousarray(np.moveaxis(array, -1, -3))


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


FLOW_KINDS: dict[str, Callable[[np.ndarray], Any]] = {
    "array [H, W, 2]": lambda flow: flow,
    "array [2, H, W]": first,
    "array float64": lambda flow: flow.astype(np.float64),
    "array float16": lambda flow: flow.astype(np.float16),
    "array longdouble": lambda flow: flow.astype(np.longdouble),
    "array int16": lambda flow: flow.astype(np.int16),
    "array big-endian": lambda flow: flow.astype(">f4"),
    "array read-only": read_only,
    "array backwards in memory": lambda flow: np.ascontiguousarray(flow[::-1, ::-1])[::-1, ::-1],
    "array by columns": np.asfortranarray,
    "array with a mask": lambda flow: np.ma.masked_array(flow, np.zeros_like(flow, bool)),
    "tensor [2, H, W]": lambda flow: tensor(first(flow)),
    "tensor [H, W, 2]": tensor,
    "tensor float64": lambda flow: tensor(first(flow)).double(),
    "tensor bfloat16": lambda flow: tensor(first(flow)).bfloat16(),
    "tensor int64": lambda flow: tensor(first(flow)).long(),
    "tensor with gradient": lambda flow: tensor(first(flow)).requires_grad_(),
}


def grey_of(rgb: np.ndarray) -> np.ndarray:
    return np.repeat(rgb[..., :1], 3, axis=2)


def over_black(rgb: np.ndarray) -> np.ndarray:
    return (rgb.astype(np.uint32) * ALPHA * 2 + 255) // 510


def with_alpha(rgb: np.ndarray) -> np.ndarray:
    return np.concatenate([rgb, ALPHA], axis=2)


def deep(rgb: np.ndarray) -> np.ndarray:
    return rgb.astype(np.uint16) * 257


def same(rgb: np.ndarray) -> np.ndarray:
    return rgb


PICTURE_KINDS: dict[str, tuple[Callable[[np.ndarray], Any], Callable[[np.ndarray], np.ndarray]]] = {
    "array [H, W, 3]": (same, same),
    "array [3, H, W]": (first, same),
    "array [H, W]": (lambda rgb: rgb[..., 0], grey_of),
    "array [H, W, 1]": (lambda rgb: rgb[..., :1], grey_of),
    "array [1, H, W]": (lambda rgb: first(rgb[..., :1]), grey_of),
    "array [H, W, 4]": (with_alpha, over_black),
    "array [4, H, W]": (lambda rgb: first(with_alpha(rgb)), over_black),
    "array uint16": (deep, same),
    "array uint16 grey": (lambda rgb: deep(rgb[..., 0]), grey_of),
    "array uint16 with alpha": (lambda rgb: deep(with_alpha(rgb)), over_black),
    "array float32": (lambda rgb: (rgb / 255).astype(np.float32), same),
    "array float64, channels first": (lambda rgb: first(rgb / 255), same),
    "array float16 grey": (lambda rgb: (rgb[..., 0] > 99).astype(np.float16), lambda rgb: grey_of(rgb > 99) * 255),
    "array bool": (lambda rgb: rgb[..., 0] > 99, lambda rgb: grey_of(rgb > 99) * 255),
    "array read-only": (read_only, same),
    "array of a PIL picture": (lambda rgb: np.asarray(Image.fromarray(rgb)), same),
    "array big-endian": (lambda rgb: (rgb / 255).astype(">f8"), same),
    "array backwards in memory": (lambda rgb: rgb[::-1].copy()[::-1], same),
    "tensor uint8 [3, H, W]": (lambda rgb: tensor(first(rgb)), same),
    "tensor uint8 [H, W, 3]": (tensor, same),
    "tensor uint8 [H, W]": (lambda rgb: tensor(rgb[..., 0]), grey_of),
    "tensor uint8 [4, H, W]": (lambda rgb: tensor(first(with_alpha(rgb))), over_black),
    "tensor uint16": (lambda rgb: tensor(first(deep(rgb))), same),
    "tensor float": (lambda rgb: tensor(first(rgb)) / 255, same),
    "tensor float [1, H, W]": (lambda rgb: tensor(first(rgb[..., :1])) / 255, grey_of),
    "tensor float [H, W, 3]": (lambda rgb: tensor(rgb) / 255, same),
    "tensor float64": (lambda rgb: tensor(first(rgb)).double() / 255, same),
    "tensor with gradient": (lambda rgb: (tensor(first(rgb)) / 255).requires_grad_(), same),
    "PIL": (Image.fromarray, same),
    "PIL grey": (lambda rgb: Image.fromarray(rgb[..., 0]), grey_of),
    "PIL with alpha": (lambda rgb: Image.fromarray(with_alpha(rgb)), over_black),
    "PIL 16 bits": (lambda rgb: Image.fromarray(deep(rgb[..., 0])), grey_of),
    "PIL bits": (lambda rgb: Image.fromarray(rgb[..., 0] > 99), lambda rgb: grey_of(rgb > 99) * 255),
}
"""How each is made of RGB, and the RGB that it stands for."""


def refused(call: Callable[[], Any]) -> str:
    """The line in which a call is refused by one of flowgru's own errors."""
    with pytest.raises(FlowgruError) as caught:
        result = call()
        list(result) if hasattr(result, "__next__") else None
    text = str(caught.value)
    assert text and len(text.splitlines()) == 1 and len(text) < 400
    return text
