"""Video containers, opened without trust: a local file only, and nothing that it points to."""

import glob
import os
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

from flowgru.errors import InputFileError, RequestError, one_line
from flowgru.files.bounded import read_bytes

# Containers that hold the pictures themselves: no playlists or pattern readers, which open further files.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h261,h263,h264,hevc,vvc,evc,av1,obu,ivf,"
    "mjpeg,mjpeg_2000,mpjpeg,smjpeg,vc1,vc1test,dirac,dnxhd,cavsvideo,apv,gif,apng,flv,asf,ogg,mxf,gxf,nut,"
    "yuv4mpegpipe,dv,rm,swf,nsv,nuv,wtv,flic,roq,bink,smk"
)
# What FFmpeg takes for the way to a file, where a colon follows; a colon may stand in any other name.
_PROTOCOLS = (
    "async|bluray|cache|concatf?|crypto|data|fd|file|ftp|gophers?|hls|https?|icecast|ipfs|ipns|md5|mms[ht]|pipe|prompeg|"
    "rtmp|rtmpe|rtmps|rtmpt|rtmpte|rtmpts|rtp|rtsp|sctp|sftp|smb|srt|srtp|subfile|tcp|tee|tls|udp|udplite|unix|zmq"
)
_URL = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]+://|(?:{_PROTOCOLS}):", re.IGNORECASE)
_PLAYLIST_SUFFIXES = (".m3u8", ".m3u", ".mpd", ".ffconcat", ".pls", ".sdp")
_PLAYLIST_STARTS = (b"#EXTM3U", b"ffconcat", b"<MPD")


_JPEG_START = b"\xff\xd8\xff"


def refuse_playlist(path: str | Path) -> None:
    """RequestError for a URL or the name of a playlist: these lead to other files and machines.

    A file, or a pattern of files, that is there may be called as it likes.
    """
    if _URL.match(str(path)) and not (os.path.exists(path) or any(glob.iglob(str(path)))):
        raise RequestError(f"{path} is a URL: only local files are read, download it first")
    if Path(path).suffix.lower() in _PLAYLIST_SUFFIXES:
        raise RequestError(f"{path} is a playlist, which names other files: give the video file itself")


def open_video(path: Path) -> tuple[Any, Any]:
    """The opened container and its main video stream. InputFileError if there is none that can be decoded."""
    start = read_bytes(path, 16)
    if not start:
        raise InputFileError(f"{path} is empty (0 bytes): expected a video")
    if start.lstrip(b"\xef\xbb\xbf \r\n").startswith(_PLAYLIST_STARTS):
        raise InputFileError(f"{path} is a playlist, which names other files: give the video file itself")
    container = _container(path)
    stream = container.streams.best("video")
    if stream is None:
        container.close()
        raise InputFileError(f"{path} holds no video stream")
    if stream.codec_context is None:
        codec = _codec_without_decoder(path, stream.index)
        container.close()
        fix = "convert it to H.264 with the program that made it" if codec else "the file is cut off or damaged"
        raise InputFileError(f"{path}: there is no decoder for its video ({codec or 'it names no codec'}): {fix}")
    return container, stream


def _container(path: Path) -> Any:
    import av

    try:
        # An absolute path can not be taken for a protocol; a file object would let the demuxer open others.
        options = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
        # FFmpeg would read JPEGs one after the other as a list of files, unless they are small.
        kind = "mjpeg" if read_bytes(path, 3) == _JPEG_START else None
        return av.open(os.path.abspath(path), format=kind, options=options, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        raise InputFileError(f"{path} cannot be read as a video: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or one_line(error)


def _codec_without_decoder(path: Path, index: int) -> str | None:
    """What FFmpeg calls the codec of a stream; PyAV says nothing of it where there is no decoder, FFmpeg's log does."""
    import av.logging

    level, skips_repeated = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.INFO)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as lines:
            _container(path).close()
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skips_repeated)
    text = " ".join(line for _, _, line in lines)
    found = re.search(
        rf"unsupported AVCodecID (\S+?)\.?\s|stream {index} \(Video: (?:none \(([^/)]+?) /|(?!none)(\w+))", text
    )
    return None if found is None else next(name for name in found.groups() if name)


def declared_end(container: Any, stream: Any) -> float | None:
    """When the pictures end, in seconds of the stream's own clock, as the file says; None if it does not.

    A length that a sound track may have set does not count.
    """
    start = float((stream.start_time or 0) * stream.time_base)
    if stream.duration:
        return start + float(stream.duration * stream.time_base)
    # Matroska and WebM write when a track ends, not how long it lasts.
    noted = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", _noted(stream, "DURATION") or "")
    if noted:
        return int(noted[1]) * 3600 + int(noted[2]) * 60 + float(noted[3])
    if container.duration and len(container.streams) == 1:
        return container.duration / 1e6
    return None


def declared_rate(stream: Any) -> Fraction | None:
    """Frames a second, as the file says; None if it does not.

    Where fields are counted as frames, or the clock's ticks, the average that FFmpeg gives is higher than the rate that
    it takes from the pictures themselves.
    """
    average, guessed = stream.average_rate, stream.guessed_rate
    if average and guessed and average > guessed * Fraction(11, 10):
        return guessed
    return average or guessed


def declared_frames(container: Any, stream: Any) -> int | None:
    """How many frames there are, as the file says or as its length and rate give; None if it says neither."""
    if container.format.name == "avi":
        # An AVI counts a chunk without data, which repeats the frame before.
        indexed = sum(entry.size > 0 for entry in stream.index_entries)
        if indexed:
            return indexed
    noted = _noted(stream, "NUMBER_OF_FRAMES") or ""
    if stream.frames:
        # What was cut without encoding it anew keeps pictures that are not shown; FFmpeg leaves them out or marks them.
        entries = stream.index_entries if container.format.name.startswith("mov") else ()
        return sum(not entry.is_discard for entry in entries) or stream.frames
    if noted.isdecimal():
        return int(noted)
    end, rate = declared_end(container, stream), declared_rate(stream)
    if end is None or rate is None:
        return None
    counted = round((end - float((stream.start_time or 0) * stream.time_base)) * rate)
    return counted if counted > 1 else None  # a length that FFmpeg has guessed from too little


def _noted(stream: Any, key: str) -> str | None:
    """A tag of a stream, which some programs write with a language behind it (DURATION-eng)."""
    return next((value for name, value in stream.metadata.items() if name.partition("-")[0].upper() == key), None)
