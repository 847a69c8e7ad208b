"""Small data sets in the layouts in which the real ones are published, with files of their formats."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from flowgru.data.formats.flow_files import write_flow
from flowgru.data.formats.images import write_image
from flowgru.data.sets.opening import FlowPairs

HEIGHT, WIDTH = 6, 8


def picture(path: Path, level: int, height: int = HEIGHT) -> None:
    """A grey picture; its level tells which it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.full((height, WIDTH, 3), level, np.uint8))


def mask(path: Path, *columns: int) -> None:
    """White in these columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:, list(columns)] = 255
    write_image(path, pixels)


def flow(path: Path, u: float, *unknown: int) -> None:
    """(u, -1) everywhere, unknown in these columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    valid = np.ones((HEIGHT, WIDTH), bool)
    valid[:, list(unknown)] = False
    write_flow(path, np.full((HEIGHT, WIDTH, 2), (u, -1), np.float32), valid)


def make_chairs(root: Path) -> None:
    for number in (2, 10, 1):
        start = root / "FlyingChairs_release/data" / f"{number:05}"
        picture(start.with_name(f"{start.name}_img1.ppm"), number)
        picture(start.with_name(f"{start.name}_img2.ppm"), number + 100)
        flow(start.with_name(f"{start.name}_flow.flo"), number)
    (root / "FlyingChairs_release/chairs_split.txt").write_text("1\n2\n1\n")


def make_things(root: Path) -> None:
    """Frames 6 to 8; the flows of the ends lead to frames that do not exist. u is the frame, v its row from the top."""
    base = root / "FlyingThings3D"
    for frame in (6, 7, 8):
        for index, name in enumerate(("clean", "final")):
            picture(base / f"frames_{name}pass/TRAIN/B/0012/left/{frame:04}.png", 100 * index + frame)
            picture(base / f"frames_{name}pass/TEST/B/0012/left/{frame:04}.png", 0)
            picture(base / f"frames_{name}pass/TRAIN/B/0012/right/{frame:04}.png", 0)
        for direction, word, sign in (("into_future", "Future", 1), ("into_past", "Past", -1)):
            path = base / f"optical_flow/TRAIN/B/0012/{direction}/left/OpticalFlowInto{word}_{frame:04}_L.pfm"
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = [[(sign * frame, row, 0)] * WIDTH for row in reversed(range(HEIGHT))]
            path.write_bytes(b"PF\n%d %d\n-1.0\n" % (WIDTH, HEIGHT) + np.array(rows, "<f4").tobytes())


def make_things_subset(root: Path) -> None:
    """Frames 0 to 2 of one sequence and 7 of another, of which the neighbours were taken out."""
    base = root / "FlyingThings3D_subset/train"
    for frame in (0, 1, 2, 7):
        picture(base / f"image_clean/left/{frame:07}.png", frame)
        picture(base / f"image_final/left/{frame:07}.png", frame + 100)
    for direction, frames, sign in (("into_future", (0, 1), 1), ("into_past", (1, 2), -1)):
        for frame in frames:
            flow(base / f"flow/left/{direction}/{frame:07}.flo", sign * (frame + 10), 4)
            mask(base / f"flow_occlusions/left/{direction}/{frame:07}.png", 2)


def make_sintel(root: Path) -> None:
    base = root / "Sintel/training"
    for index, scene in enumerate(("market_5", "alley_1")):
        for frame in (1, 2, 3):
            picture(base / f"clean/{scene}/frame_{frame:04}.png", 10 * index + frame)
            picture(base / f"final/{scene}/frame_{frame:04}.png", 10 * index + frame + 100)
        for frame in (1, 2):
            flow(base / f"flow/{scene}/frame_{frame:04}.flo", 10 * index + frame)
            mask(base / f"invalid/{scene}/frame_{frame:04}.png", 0)
            mask(base / f"occlusions/{scene}/frame_{frame:04}.png", 0, 1)


def make_kitti(folder: str, pictures: str, flows: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        base = root / folder / "training"
        for number in (7, 3):
            for frame in (10, 11):
                picture(base / f"{pictures}/{number:06}_{frame}.png", number + frame)
            flow(base / f"{flows}/{number:06}_10.png", number, 5)

    return make


def make_hd1k(root: Path) -> None:
    """Two sequences; every frame has a flow, the last one to a frame that was not published."""
    base = root / "HD1k"
    for sequence, frames in ((3, (8, 9, 10)), (0, (0, 1))):
        for frame in frames:
            picture(base / f"hd1k_input/image_2/{sequence:06}_{frame:04}.png", 10 * sequence + frame)
            flow(base / f"hd1k_flow_gt/flow_occ/{sequence:06}_{frame:04}.png", 10 * sequence + frame, 5)


def make_spring(root: Path) -> None:
    """One scene of two frames. Of the stored flow only every 2nd row and column is right; column 3 is not known."""
    base = root / "spring/train/0004"
    for index, camera in enumerate(("left", "right")):
        for frame in (1, 2):
            picture(base / f"frame_{camera}/frame_{camera}_{frame:04}.png", 10 * index + frame)
        for direction, frame in (("FW", 1), ("BW", 2)):
            stored = np.full((2 * HEIGHT, 2 * WIDTH, 2), 99, np.float32)
            stored[::2, ::2] = (10 * index + frame, -1)
            stored[::2, 6] = np.nan
            path = base / f"flow_{direction}_{camera}/flow_{direction}_{camera}_{frame:04}.flo5"
            path.parent.mkdir(parents=True, exist_ok=True)
            with h5py.File(path, "w") as file:
                file.create_dataset("flow", data=stored, compression="gzip", compression_opts=5)


def make_middlebury(root: Path) -> None:
    for index, scene in enumerate(("Venus", "Grove2", "Walking")):
        picture(root / f"Middlebury/other-data/{scene}/frame10.png", index)
        picture(root / f"Middlebury/other-data/{scene}/frame11.png", index + 100)
        if scene != "Walking":  # published without its flow
            flow(root / f"Middlebury/other-gt-flow/{scene}/flow10.flo", index, 7)


def make_tartanair(root: Path) -> None:
    """One trajectory of three frames. Columns 1, 2 and 3 of the mask are occluded in two ways and out of view."""
    base = root / "tartanair/neighborhood/Hard/P003"
    occluded = np.zeros((HEIGHT, WIDTH), np.uint8)
    occluded[:, 1:4] = (1, 10, 100)
    for frame in (0, 1, 2):
        picture(base / f"image_left/{frame:06}_left.png", frame)
    (base / "flow").mkdir()
    for frame in (0, 1):
        flows = np.full((HEIGHT, WIDTH, 2), (frame + 10, -1), np.float32)
        np.save(base / f"flow/{frame:06}_{frame + 1:06}_flow.npy", flows)
        np.save(base / f"flow/{frame:06}_{frame + 1:06}_mask.npy", occluded)


MAKERS: dict[str, Callable[[Path], None]] = {
    **dict.fromkeys(("chairs", "chairs_train", "chairs_val"), make_chairs),
    **dict.fromkeys(("things", "things_clean", "things_final"), make_things),
    **dict.fromkeys(("sintel", "sintel_clean", "sintel_final"), make_sintel),
    "kitti2012": make_kitti("KITTI-2012", "image_0", "flow_occ"),
    "kitti2015": make_kitti("KITTI", "image_2", "flow_occ"),
    "hd1k": make_hd1k,
    "spring": make_spring,
    "middlebury": make_middlebury,
    "tartanair": make_tartanair,
}


def contents(pairs: FlowPairs) -> list[tuple[str, int, int, float]]:
    """Name, level of both pictures and u of every pair."""
    samples = [pairs[index] for index in range(len(pairs))]
    return [
        (
            sample.name,
            round(sample.first.max().item() * 255),
            round(sample.second.max().item() * 255),
            sample.flow[0].max().item(),
        )
        for sample in samples
    ]
