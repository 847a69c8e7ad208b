"""Says how much memory the frames of a clip are expected to take, before they take it."""

from collections.abc import Iterator

from flowgru.config.estimation import EstimateSettings
from flowgru.config.way import Way
from flowgru.console import say, warn
from flowgru.errors import sides, size_text
from flowgru.estimation.geometry import computed_size
from flowgru.estimation.matching.steps import memory_of
from flowgru.estimation.matching.tiles import tile_layout
from flowgru.estimation.stream import StreamFrame
from flowgru.model.memory import free_memory, used_memory
from flowgru.model.pair_network import PairNetwork

FRAME_BYTES_PER_PIXEL = 4 * 3 + 12
"""Of the frames of a stream: two of a pair, the one ahead and the one that is being read, in 8 bits; one of them in 32."""

FLOW_BYTES_PER_PIXEL = 40
"""Of flows on their way into their files, for each direction: one as it is computed and as it is given, one that waits, and
one as it is given and as it is written."""

COUNTED_BYTES_PER_PIXEL = 36
"""Of both pictures and their flow, which the network's own estimate has counted in."""


OCCLUSION_BYTES_PER_PIXEL = 64
"""Of the mask of hidden pixels, which is made of both flows at the frames' own size, once the network has done its work."""


class ExpectedMemory:
    """What a network takes on its way, by the size of the frames."""

    def __init__(self, network: PairNetwork, way: Way, settings: EstimateSettings) -> None:
        self.network, self.way, self.settings = network, way, settings
        self.num_bytes: dict[tuple[int, ...], int] = {}
        """What is expected for each size of frames that was met."""

    def announced(self, frames: Iterator[StreamFrame]) -> Iterator[StreamFrame]:
        """The same frames; says how much memory a new size of them is expected to take."""
        for frame in frames:
            size = tuple(frame.image.shape[2:])
            if size not in self.num_bytes:
                self._announce(size)
            yield frame

    def _announce(self, size: tuple[int, ...]) -> None:
        network, settings = self.network, self.settings
        computed = computed_size(size, settings.size_to_compute())
        tiles = tile_layout(*computed, *settings.rows_and_columns())
        kept, polishing = memory_of(self.way, *computed)
        polishing = max(polishing, OCCLUSION_BYTES_PER_PIXEL * size[0] * size[1] * settings.backward)
        graph = settings.cuda_graph and settings.stop_below is None
        expected = network.expected_memory(
            *computed,
            num_tiles=len(tiles),
            tile_shape=tiles[0][2:],
            after=polishing,
            graph=graph,
            scales=self.way.scales,
        )
        # On a GPU the frames and the files' flows lie beside it, in the machine's memory.
        beside = self._of_stream(size, computed) if expected.device.type == "cpu" else 0
        expected = expected._replace(num_bytes=expected.num_bytes + kept + beside)
        self.num_bytes[size] = expected.num_bytes
        gib = expected.num_bytes / 2**30
        at = f", computed at {sides(computed)}," if computed != size else ""
        say(f"{size_text(size)}{at} on {expected.device}, correlation {expected.method}: expecting {gib:.2f} GiB")
        if expected.num_bytes - used_memory(expected.device) > (free := free_memory(expected.device)):
            on_demand = (
                "--correlation on_demand, "
                if expected.method != "on_demand" and network.smaller_plan(network.plan)
                else ""
            )
            polish = "--no-polish, " if self.way.polish else ""
            recorded = "--no-cuda-graph, " if graph and expected.device.type == "cuda" else ""
            rows, columns = settings.rows_and_columns()
            warn(
                f"only {free / 2**30:.2f} GiB of memory are free: {recorded}{on_demand}{polish}"
                f"--tiles {2 * rows}x{2 * columns} or a smaller --resize take less"
            )

    def _of_stream(self, size: tuple[int, ...], computed: tuple[int, int]) -> int:
        """Bytes of the frames and flows at their own size that the network's estimate does not know of."""
        per_pixel = FRAME_BYTES_PER_PIXEL + FLOW_BYTES_PER_PIXEL * (1 + self.settings.backward)
        return (per_pixel - (COUNTED_BYTES_PER_PIXEL if computed == size else 0)) * size[0] * size[1]
