"""Frames reduced to 256 colours each, those that fit the frame best, by FFmpeg's palettegen and paletteuse."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any


class Palettes:
    """Takes RGB frames of one size and gives them back with palettes, one by one."""

    def __init__(self, height: int, width: int, time_base: Fraction) -> None:
        import av
        import av.filter

        self._graph = graph = av.filter.Graph()
        self._time_base, self._number = time_base, 0
        source = graph.add_buffer(width=width, height=height, format=av.VideoFormat("rgb24"), time_base=time_base)
        twice, made = graph.add("split"), graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
        used, sink = graph.add("paletteuse", "new=1"), graph.add("buffersink")
        source.link_to(twice)
        twice.link_to(used, 0, 0)
        twice.link_to(made, 1, 0)
        made.link_to(used, 0, 1)
        used.link_to(sink)
        graph.configure()

    def add(self, frame: Any) -> Iterator[Any]:
        """Takes a frame, with or without its own time; gives those that are done."""
        if frame.pts is None:
            frame.pts, frame.time_base = self._number, self._time_base
        self._number += 1
        self._graph.push(frame)
        yield from self._done()

    def rest(self) -> Iterator[Any]:
        """Those that are left once all have been added."""
        self._graph.push(None)
        yield from self._done()

    def _done(self) -> Iterator[Any]:
        import av

        while True:
            try:
                yield self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
