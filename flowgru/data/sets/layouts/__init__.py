"""Every benchmark set with true flow, by the name it is asked for; one file for each family.

A set that is published in several layouts has one entry for each, and the first that holds pairs is read.
"""

from flowgru.data.sets.layouts.chairs import TRAIN, VALIDATION, chairs_pairs
from flowgru.data.sets.layouts.driving import hd1k_pairs, kitti_pairs
from flowgru.data.sets.layouts.layout import Layout
from flowgru.data.sets.layouts.middlebury import middlebury_pairs
from flowgru.data.sets.layouts.sintel import SCENES, sintel_pairs
from flowgru.data.sets.layouts.spring import CAMERAS, FLOWS, spring_pairs
from flowgru.data.sets.layouts.tartanair import tartanair_masks, tartanair_pairs
from flowgru.data.sets.layouts.things import things_pairs, things_subset_pairs
from flowgru.grid import PaddingMode

_FREIBURG = "https://lmb.informatik.uni-freiburg.de/resources/datasets"
_KITTI = "https://www.cvlibs.net/datasets/kitti"


def _chairs(num_pairs: int, split: int | None) -> tuple[Layout, ...]:
    return (
        Layout(
            ("FlyingChairs_release/data", "FlyingChairs/FlyingChairs_release/data", "FlyingChairs/data"),
            chairs_pairs,
            num_pairs,
            source=f"FlyingChairs.zip from {_FREIBURG}/FlyingChairs.en.html",
            licence="FlyingChairs: for research only",
            split=split,
        ),
    )


def _things(*passes: str) -> tuple[Layout, ...]:
    source = f"{_FREIBURG}/SceneFlowDatasets.en.html"
    licence = "FlyingThings3D: for research only"
    archives = " and ".join(f"{name}pass" for name in passes)
    return (
        Layout(
            ("FlyingThings3D",),
            things_pairs(*passes),
            num_pairs=None,
            source=f"the RGB images ({archives}) and the optical flow of FlyingThings3D from {source}",
            licence=licence,
            holds="optical_flow",
        ),
        Layout(
            ("FlyingThings3D_subset", "FlyingThings3D"),
            things_subset_pairs(*passes),
            num_pairs=None,
            source=f"the RGB images ({archives}), flow and flow occlusions of the DispNet/FlowNet2.0 subset from {source}",
            licence=licence,
            holds="train/flow",
        ),
    )


def _sintel(*passes: str) -> tuple[Layout, ...]:
    return (
        Layout(
            ("Sintel/training", "MPI-Sintel/training"),
            sintel_pairs(*passes),
            1_041 * len(passes),  # 1064 frames of 23 scenes; no flow leads on from the last of each
            source="MPI-Sintel-complete.zip from http://sintel.is.tue.mpg.de/downloads",
            licence="Sintel: CC BY 3.0",
            scenes=SCENES,
            parts=(*passes, "flow"),
        ),
    )


DATASETS: dict[str, tuple[Layout, ...]] = {
    "chairs": _chairs(22_872, split=None),  # 22232 to train with and 640 to validate with, as the split file says
    "chairs_train": _chairs(22_232, split=TRAIN),
    "chairs_val": _chairs(640, split=VALIDATION),
    "things": _things("clean", "final"),
    "things_clean": _things("clean"),
    "things_final": _things("final"),
    "sintel": _sintel("clean", "final"),
    "sintel_clean": _sintel("clean"),
    "sintel_final": _sintel("final"),
    "kitti2012": (
        Layout(
            ("KITTI-2012/training", "KITTI2012/training"),
            kitti_pairs("colored_0", "image_0"),
            num_pairs=194,
            source=f"data_stereo_flow.zip from {_KITTI}/eval_stereo_flow.php?benchmark=flow",
            licence="KITTI 2012: CC BY-NC-SA 3.0",
            padding="kitti",
        ),
    ),
    "kitti2015": (
        Layout(
            ("KITTI/training", "KITTI-2015/training", "KITTI2015/training", "KittiFlow/training"),
            kitti_pairs("image_2"),
            num_pairs=200,
            source=f"data_scene_flow.zip from {_KITTI}/eval_scene_flow.php?benchmark=flow",
            licence="KITTI 2015: CC BY-NC-SA 3.0",
            padding="kitti",
        ),
    ),
    "hd1k": (
        Layout(
            ("HD1K",),
            hd1k_pairs,
            num_pairs=None,
            source="hd1k_full_package.zip from http://hci-benchmark.iwr.uni-heidelberg.de",
            licence="HD1K: as its page says",
            scenes=tuple(f"{number:06}" for number in range(36)),  # RAFT reads these
        ),
    ),
    "spring": (
        Layout(
            ("spring/train",),
            spring_pairs,
            num_pairs=19_852,  # 4 flows for each of 5000 frames but the last (FW) or first (BW) of 37 scenes
            source="the frames and the flow (FW, BW, left, right) of the training part from https://spring-benchmark.org",
            licence="Spring: as its page says",
            parts=(*(f"*/frame_{camera}" for camera in CAMERAS), *(f"*/flow_{kind}" for kind in FLOWS)),
        ),
    ),
    "middlebury": (
        Layout(
            ("Middlebury",),
            middlebury_pairs,
            num_pairs=8,  # of 12 scenes; the others have no published flow
            parts=("other-data", "other-gt-flow"),
            source="other-color-twoframes.zip and other-gt-flow.zip from https://vision.middlebury.edu/flow/data",
            licence="Middlebury: for research only",
        ),
    ),
    "tartanair": (
        Layout(
            ("TartanAir",),
            tartanair_pairs,
            num_pairs=None,
            source="image_left, flow_flow and flow_mask of each environment from https://theairlab.org/tartanair-dataset",
            licence="TartanAir: as its page says",
            read_masks=tartanair_masks,
        ),
    ),
}


def licence_of(name: str) -> str:
    """The terms of a data set; those of a manifest's pairs are its owner's to know."""
    return DATASETS[name][0].licence if name in DATASETS else f"{name}: as its owner allows"


def padding_mode(name: str) -> PaddingMode:
    """The padding of a data set's published errors; a manifest's is that of most sets."""
    return DATASETS[name][0].padding if name in DATASETS else "sintel"
