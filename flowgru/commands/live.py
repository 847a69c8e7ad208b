"""`flowgru live`: the flow of a camera as it runs, in a window or on a page."""

from flowgru.live.settings import LiveSettings


def live(settings: LiveSettings) -> int:
    """Shows the flow of a camera, or of a file, as it runs: each frame beside its flow, in a window or on a page.

    The newest frame wins: what comes while a flow is computed is dropped and counted. Frames a second and the time from a
    frame to its picture stand below the picture and on a line of stderr.
    """
    from flowgru.live.loop import run_live  # imports torch, which --help does without

    return run_live(settings)
