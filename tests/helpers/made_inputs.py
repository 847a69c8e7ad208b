"""Files as people have them, made for the tests: each maker writes frames to a path in a way that readers get wrong."""

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from media import write_clip
from PIL import Image

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
