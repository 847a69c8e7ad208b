"""The frames of a stream in order, with their times, from whatever of it can be decoded."""

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple


class Piece(NamedTuple):
    """What came next out of a stream."""

    frame: Any
    """PyAV's VideoFrame; None for a piece of the stream that cannot be decoded."""
    time: float | None = None
    """Seconds of the stream's own clock; None where the stream has no clock."""
    stays: float = 0.0
    """Seconds for which the frame is shown, as the file says; 0 if it does not."""


class StreamDecoder:
    """Decodes a stream from its beginning: `for piece in StreamDecoder(container, stream)`.

    num_before_key  packets at the beginning that nothing can be drawn from: they come before the first key frame
    latest          time of the latest packet, in seconds of the stream's own clock; None if it has none
    ignores_alpha   the stream has transparency that no decoder here can give
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self.num_before_key = 0
        self.latest: float | None = None
        self._container, self._stream = container, stream
        self._clock = _Clock(container, stream)
        alpha = stream.metadata.get("alpha_mode") == "1"
        self._alpha = _alpha_decoder(stream.codec_context) if alpha else None
        self.ignores_alpha = alpha and self._alpha is None
        self.codec = self._alpha or stream.codec_context

    def __iter__(self) -> Iterator[Piece]:
        import av

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.EOFError:
                break
            except av.FFmpegError:
                yield Piece(None)
                continue
            if packet is None:
                break
            self._clock.add(packet)
            try:
                decoded = self.codec.decode(packet if packet.size else None)
            except av.EOFError:
                break
            except av.FFmpegError:
                if self._clock.drop():
                    yield Piece(None)
            else:
                yield from self._pieces(decoded)
        # An error hides the frames that wait in the decoder's threads: ask on, a bounded number of times.
        for _ in range(1000):
            try:
                waiting = self.codec.decode(None)
            except av.EOFError:
                break
            except av.FFmpegError:
                yield Piece(None)
            else:
                if not waiting:
                    break
                yield from self._pieces(waiting)
        self.num_before_key = self._clock.num_before_key if self._clock.seen_key else 0
        self.latest = None if self._clock.latest is None else float(self._clock.latest * self._stream.time_base)

    def _pieces(self, frames: list[Any]) -> Iterator[Piece]:
        tick = self._stream.time_base  # a frame that a decoder held back does not know it
        return (Piece(frame, self._clock.time(frame), float((frame.duration or 0) * tick)) for frame in frames)


class _Clock:
    """Gives each frame its time.

    AVI and some others have no presentation times: they number the packets, which stand in the order of decoding. Then
    the times of frames that are drawn from later ones would jump back and forth. Frames come out in the order in which
    they are shown, so the first frame takes the time of the first packet, and so on.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self.num_before_key = 0
        self._stream = stream
        self._numbers_packets = container.format.name == "avi"
        self._waiting: deque[int | None] = deque()
        self.latest: int | None = None
        self.seen_key = False
        self._in_order = True
        self._is_queued = False
        """Whether the packet that was added last waits for its frame."""

    def add(self, packet: Any) -> None:
        """Take note of a packet that is about to be decoded."""
        self._is_queued = False
        if not packet.size:
            return
        if not self.seen_key and not packet.is_keyframe:
            self.num_before_key += 1
            return
        self.seen_key = True
        if (
            packet.is_discard
        ):  # before the place where the file was cut: decoded for the frames that follow, and not shown
            return
        stored = packet.dts if self._numbers_packets or packet.pts is None else packet.pts
        if stored is not None:
            self._in_order = self._in_order and (self.latest is None or stored > self.latest)
            self.latest = stored if self.latest is None else max(stored, self.latest)
        if self._in_order:
            self._waiting.append(stored)
            self._is_queued = True

    def drop(self) -> bool:
        """Forget the packet that was added last, because it gives no frame; False if nothing could be drawn from it."""
        if self._is_queued:
            self._waiting.pop()
            self._is_queued = False
        return self.seen_key

    def time(self, frame: Any) -> float | None:
        """The time of the next frame in the order in which frames are shown."""
        counted = self._waiting.popleft() if self._waiting else None
        # Where packets do not stand in the order of their times, their times are those of the pictures.
        if self._in_order and counted is not None and self._stream.codec_context.has_b_frames:
            return float(counted * self._stream.time_base)
        return None if frame.pts is None else float(frame.pts * self._stream.time_base)


def _alpha_decoder(codec: Any) -> Any | None:
    """A decoder of VP8 or VP9 that also decodes the alpha beside it, as FFmpeg's own do not; None if there is none."""
    import av

    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(codec.name)
    try:
        decoder = av.CodecContext.create(name, "r") if name else None
    except (av.FFmpegError, ValueError):
        return None
    if decoder is not None:
        decoder.extradata = codec.extradata
    return decoder
