"""`flowgru estimate`: the flow between the frames of videos, folders and pictures, one file for every pair."""

from flowgru.config.estimation import EstimateSettings


def estimate(inputs: list[str], settings: EstimateSettings) -> int:
    """Writes the flow between the frames of videos, folders, globs or pictures, and a summary of it.

    inputs: Videos, animated pictures, folders or globs of frames, or two or more pictures. N frames give N - 1 flows, each
        named after its first frame.
    """
    from flowgru.estimation.clips import estimate_clips  # imports torch, which --help does without

    return estimate_clips(inputs, settings)
