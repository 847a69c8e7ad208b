"""Middlebury (Baker et al. 2011)."""

from pathlib import Path

from flowgru.data.sets.layouts.pairing import Listing, PairFiles, paired


def middlebury_pairs(folder: Path) -> Listing:
    """other-data/<scene>/frame10.png and frame11.png, other-gt-flow/<scene>/flow10.flo.

    Scenes without a published flow are left alone.
    """
    flows = sorted((folder / "other-gt-flow").glob("*/flow10.flo"))
    pairs = []
    for flow in flows:
        pictures = folder / "other-data" / flow.parent.name
        pairs.append(PairFiles(flow.parent.name, pictures / "frame10.png", pictures / "frame11.png", flow))
    present = {path for pair in pairs for path in (pair.first, pair.second) if path.exists()}
    return paired(pairs, present | set(flows), folder)
