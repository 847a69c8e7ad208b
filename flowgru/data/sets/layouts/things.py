"""FlyingThings3D (Mayer et al. 2016), the full set and the subset of DispNet and FlowNet 2.0.

Of both, the training part, the left camera, and the flow to the next and to the previous frame, as RAFT uses them.
"""

import functools
from collections.abc import Callable
from pathlib import Path

from flowgru.data.sets.layouts.pairing import (
    Listing,
    PairFiles,
    existing_folder,
    named,
    numbered,
    paired,
    sequence_pairs,
    without_holes,
)

STEPS = {"into_future": ("Future", 1), "into_past": ("Past", -1)}


def things_pairs(*passes: str) -> Callable[[Path], Listing]:
    """frames_cleanpass/TRAIN/A/0000/left/0006.png and
    optical_flow/TRAIN/A/0000/into_future/left/OpticalFlowIntoFuture_0006_L.pfm.

    The last flow into the future and the first into the past lead out of a sequence.
    """

    def list_pairs(folder: Path) -> Listing:
        pairs: list[PairFiles] = []
        present: set[Path] = set()
        flows = existing_folder(folder, "optical_flow") / "TRAIN"

        @functools.cache  # both passes have the same flows
        def flows_of(scene: Path, direction: str, word: str) -> dict[int, Path]:
            return numbered(flows / scene / direction / "left", rf"OpticalFlowInto{word}_(\d{{4}})_L\.pfm")

        for name in passes:
            pictures = existing_folder(folder, f"frames_{name}pass") / "TRAIN"
            scenes = {
                path.relative_to(base) for base in (pictures, flows) for path in base.glob("*/*") if path.is_dir()
            }
            for scene in sorted(scenes):
                shown = numbered(pictures / scene / "left", r"(\d{4})\.png")
                picture = named(shown, pictures / scene / "left", lambda n: f"{n:04}.png")
                present |= set(shown.values())
                for direction, (word, step) in STEPS.items():
                    found = flows_of(scene, direction, word)
                    expected = without_holes(found, lambda n, word=word: f"OpticalFlowInto{word}_{n:04}_L.pfm")
                    added = sequence_pairs(f"{name}/{scene.as_posix()}", expected, picture, step, present)
                    present |= {pair.flow for pair in added} & set(found.values())
                    pairs += added
        return paired(pairs, present, folder)

    return list_pairs


def things_subset_pairs(*passes: str) -> Callable[[Path], Listing]:
    """train/image_clean/left/0000000.png and train/flow/left/into_future/0000000.flo.

    Frames were taken out of this subset, so pictures without a flow are ordinary; `train/flow_occlusions`, where there is
    such a folder, must hold one mask for every flow.
    """

    def list_pairs(folder: Path) -> Listing:
        pairs: list[PairFiles] = []
        train = folder / "train"
        pictures: set[Path] = set()
        present: set[Path] = set()
        for name in passes:
            left = existing_folder(folder, f"train/image_{name}") / "left"
            pictures |= set(numbered(left, r"(\d+)\.png").values())
            for direction, (_, step) in STEPS.items():
                flows = numbered(train / "flow/left" / direction, r"(\d+)\.flo")
                masks = train / "flow_occlusions/left" / direction
                present |= {*flows.values(), *numbered(masks, r"(\d+)\.png").values()}
                for pair in sequence_pairs(
                    f"{name}/{direction}", flows, lambda n, left=left: left / f"{n:07}.png", step
                ):
                    mask = masks / f"{pair.flow.stem}.png" if (train / "flow_occlusions").is_dir() else None
                    pairs.append(pair._replace(occlusion=mask))
        present |= pictures & {path for pair in pairs for path in (pair.first, pair.second)}
        return paired(pairs, present, folder)

    return list_pairs
