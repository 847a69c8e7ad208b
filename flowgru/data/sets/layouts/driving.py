"""Pictures from a car, with sparse flow.

KITTI-2012 (Geiger et al. 2012), KITTI-2015 (Menze and Geiger 2015), HD1K (Kondermann et al. 2016).
"""

from collections.abc import Callable
from pathlib import Path

from flowgru.data.sets.layouts.pairing import (
    Listing,
    PairFiles,
    existing_folder,
    matching,
    numbered,
    paired,
    sequence_pairs,
    without_holes,
)


def kitti_pairs(*picture_folders: str) -> Callable[[Path], Listing]:
    """<pictures>/000000_10.png and _11.png, flow_occ/000000_10.png.

    Without flow_occ the flow of flow_noc is read, which leaves out the pixels that are not seen in the second picture;
    the pairs' names say which. Other frames of the multi-view extension are left alone.
    """

    def list_pairs(folder: Path) -> Listing:
        pictures = existing_folder(folder, *picture_folders)
        flows = existing_folder(folder, "flow_occ", "flow_noc")
        present = matching(pictures, r"\d+_1[01]\.png") | matching(flows, r"\d+_10\.png")
        numbers = sorted({path.name.split("_")[0] for path in present})
        pairs = (
            PairFiles(
                name=f"{flows.name}/{number}_10",
                first=pictures / f"{number}_10.png",
                second=pictures / f"{number}_11.png",
                flow=flows / f"{number}_10.png",
            )
            for number in numbers
        )
        return paired(pairs, present, folder)

    return list_pairs


def hd1k_pairs(folder: Path) -> Listing:
    """hd1k_input/image_2/000000_0000.png, hd1k_flow_gt/flow_occ/000000_0000.png: sequence, then frame.

    The last flow of a sequence leads to a frame that was not published.
    """
    pictures = existing_folder(folder, "hd1k_input/image_2")
    flows = existing_folder(folder, "hd1k_flow_gt/flow_occ")
    present = matching(pictures, r"\d{6}_\d{4}\.png")
    sequences = {path.name.split("_")[0] for path in matching(flows, r"\d{6}_\d{4}\.png")}
    pairs = []
    for sequence in sorted(sequences):
        found = numbered(flows, rf"{sequence}_(\d{{4}})\.png")

        def file_name(number: int, sequence: str = sequence) -> str:
            return f"{sequence}_{number:04}.png"

        expected = without_holes(found, file_name)
        added = sequence_pairs(sequence, expected, lambda number, name=file_name: pictures / name(number), 1, present)
        present |= {pair.flow for pair in added} & set(found.values())
        pairs += added
    return paired(pairs, present, folder)
