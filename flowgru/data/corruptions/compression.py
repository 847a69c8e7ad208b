"""What a file's compression leaves of the pictures: each frame for itself as a JPEG, or both as a clip in H.264."""

from fractions import Fraction

import cv2
import numpy as np

from flowgru.data.corruptions.noise import Frames
from flowgru.errors import RequestError, one_line, size_text

_LEAST = 16
"""Shortest side in pixels of a clip: a block of H.264."""


def jpeg(frames: Frames, quality: float, draws: np.random.Generator) -> Frames:
    """Stores each frame as a JPEG of this quality. RequestError for pictures that no JPEG can hold."""
    decoded = []
    for frame in _levels(frames):
        try:
            data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
        except cv2.error as error:
            text = f"the corruption jpeg cannot be made of pictures of {size_text(frame.shape)}: leave it out"
            raise RequestError(text) from error
        stored = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert stored is not None
        decoded.append(stored[..., ::-1])
    return np.stack(decoded).astype(np.float32) / 255


def h264(frames: Frames, crf: float, draws: np.random.Generator) -> Frames:
    """Stores both frames as a clip of two frames in H.264 at this constant rate factor (CRF), in yuv420p.

    RequestError for pictures that H.264 cannot hold.
    """
    import av

    height, width = frames.shape[1:3]
    rows, columns = (max(_LEAST, side + side % 2) - side for side in (height, width))
    padded = np.pad(_levels(frames), ((0, 0), (0, rows), (0, columns), (0, 0)), mode="edge")
    try:
        decoded = _through(padded, int(crf))
    except (av.FFmpegError, ValueError) as error:
        size = size_text((height, width))
        text = f"the corruption h264 cannot be made of pictures of {size}: {one_line(error)}; leave it out"
        raise RequestError(text) from error
    return decoded[:, :height, :width].astype(np.float32) / 255


def _through(frames: np.ndarray, crf: int) -> np.ndarray:
    """The frames [N, H, W, 3], encoded and decoded; in one thread, so that the bits are the same on every machine."""
    import av

    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = frames.shape[1:3]
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 25)
    encoder.options = {"crf": str(crf), "threads": "1"}
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    pictures = [av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24") for frame in frames]
    for number, picture in enumerate(pictures):
        picture.pts = number
    packets = [packet for picture in [*pictures, None] for packet in encoder.encode(picture)]
    decoded = [picture for packet in [*packets, None] for picture in decoder.decode(packet)]
    return np.stack([picture.to_ndarray(format="rgb24") for picture in decoded])


def _levels(frames: Frames) -> np.ndarray:
    return np.round(255 * np.clip(frames, 0, 1)).astype(np.uint8)
