"""Video containers, opened without trust: a local file only, and nothing that it points to."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flowgru.errors import InputFileError, RequestError, one_line
from flowgru.files.bounded import read_bytes

# Containers that hold the pictures themselves: no playlists or pattern readers, which open further files.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,av1,obu,ivf,"
    "gif,apng,flv,asf,ogg,mxf,nut,yuv4mpegpipe,dv,rm,swf"
)
_PLAYLIST_SUFFIXES = (".m3u8", ".m3u", ".mpd", ".ffconcat", ".pls", ".sdp")
_PLAYLIST_STARTS = (b"#EXTM3U", b"ffconcat", b"<MPD")


def refuse_playlist(path: str | Path) -> None:
    """RequestError for a URL or the name of a playlist: these lead to other files and machines."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", str(path)) and not Path(path).exists():
        raise RequestError(f"{path} is a URL: only local files are read, download it first")
    if Path(path).suffix.lower() in _PLAYLIST_SUFFIXES:
        raise RequestError(f"{path} is a playlist, which names other files: give the video file itself")


def open_video(path: Path) -> tuple[Any, Any]:
    """The opened container and its main video stream. InputFileError if there is none."""
    import av

    start = read_bytes(path, 16)
    if not start:
        raise InputFileError(f"{path} is empty (0 bytes): expected a video")
    if start.lstrip(b"\xef\xbb\xbf \r\n").startswith(_PLAYLIST_STARTS):
        raise InputFileError(f"{path} is a playlist, which names other files: give the video file itself")
    try:
        # An absolute path can not be taken for a protocol; a file object would let the demuxer open others.
        options = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
        container = av.open(os.path.abspath(path), options=options)
    except (av.FFmpegError, ValueError) as error:
        raise InputFileError(f"{path} cannot be read as a video: {_reason(error)}") from error
    stream = container.streams.best("video")
    if stream is None:
        container.close()
        raise InputFileError(f"{path} holds no video stream")
    return container, stream


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or one_line(error)


def declared_seconds(container: Any, stream: Any) -> float | None:
    """How long the pictures last, as the file says; a length that a sound track may have set does not count."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    noted = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if noted:
        return int(noted[1]) * 3600 + int(noted[2]) * 60 + float(noted[3])
    if container.duration and len(container.streams) == 1:
        return container.duration / 1e6
    return None


def decoded_pieces(container: Any, stream: Any) -> Iterator[Any]:
    """The frames of a stream in order, and None for each piece of it that cannot be decoded."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            decoded = packet.decode()
        except av.EOFError:
            break
        except av.FFmpegError:
            yield None
        else:
            yield from decoded
    # An error hides the frames that wait in the decoder's threads: ask on, a bounded number of times.
    for _ in range(1000):
        try:
            waiting = stream.decode(None)
        except av.EOFError:
            return
        except av.FFmpegError:
            yield None
        else:
            if not waiting:
                return
            yield from waiting
