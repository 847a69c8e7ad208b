"""`flowgru track`: points of a clip's first frame, followed to its end."""

from flowgru.config.estimation import TrackSettings


def track(inputs: list[str], settings: TrackSettings) -> int:
    """Follows points of the first frame of a clip by chains of flows: where each is in each frame, and whether it is seen.

    tracks.csv has a line for each frame and point: point, frame, time in seconds, x and y in pixels, and visible, which is 1
    where the point is seen and 0 where it is hidden or outside. Lines with 0 hold a guess.

    inputs: A video, an animated picture, a folder or glob of frames, or two or more pictures: one clip.
    """
    from flowgru.tracking.run import track_clip  # imports torch, which --help does without

    return track_clip(inputs, settings)
