"""Spring (Mehl et al. 2023)."""

from pathlib import Path

from flowgru.data.sets.layouts.pairing import Listing, PairFiles, numbered, paired, sequence_pairs, without_holes

CAMERAS = ("left", "right")
FLOWS = ("BW_left", "BW_right", "FW_left", "FW_right")


def spring_pairs(folder: Path) -> Listing:
    """0001/frame_left/frame_left_0001.png, 0001/flow_FW_left/flow_FW_left_0001.flo5: scene, camera, frame.

    Both cameras, and the flow to the next (FW) and to the previous frame (BW), as far as their folders are there.

    A flow file has four values for each pixel of the picture, all in the picture's pixels; every second row and column is
    read. An evaluation that takes the best of the four instead, as ptlflow's does, never gives higher errors: its numbers
    and these do not compare.
    """
    pairs: list[PairFiles] = []
    present: set[Path] = set()
    for scene in sorted(path for path in folder.iterdir() if path.is_dir()):
        for flows in (scene / f"flow_{kind}" for kind in FLOWS):
            direction, camera = flows.name.split("_")[1:]
            found = numbered(flows, rf"{flows.name}_(\d{{4}})\.flo5")

            def picture(number: int, camera: str = camera, scene: Path = scene) -> Path:
                return scene / f"frame_{camera}" / f"frame_{camera}_{number:04}.png"

            present |= {*found.values(), *numbered(picture(0).parent, rf"frame_{camera}_(\d{{4}})\.png").values()}
            step = {"FW": 1, "BW": -1}[direction]
            expected = without_holes(found, lambda number, stem=flows.name: f"{stem}_{number:04}.flo5")
            pairs += (pair._replace(flow_stride=2) for pair in sequence_pairs(scene.name, expected, picture, step))
    return paired(pairs, present, folder)
