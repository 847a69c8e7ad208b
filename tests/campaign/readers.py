"""Small good files of every kind that flowgru reads, and the readers that must take or refuse whatever becomes of them."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from comparisons import write_comparison
from media import moving_frames, write_clip
from PIL import Image
from safetensors.torch import save as safetensors_bytes
from tiny_run import TINY, new_run, write_config

from flowgru.commands.compare import compare
from flowgru.commands.train import train
from flowgru.comparison.measurements import read_measurements
from flowgru.comparison.results import read_results
from flowgru.data.formats.flow_files import flow_size, read_flow, write_flow
from flowgru.data.formats.images import image_size, num_pictures, read_image
from flowgru.data.sets.manifest import list_manifest
from flowgru.data.video.animation import read_animation
from flowgru.data.video.frames import open_frames
from flowgru.files.sealed_folder import write_sealed
from flowgru.model.weight_files.loading import load_model
from flowgru.model.weight_files.model_file import read_weights, write_model_file
from flowgru.parser import TaskParser
from flowgru.training.checkpoints.content import require_content
from flowgru.training.checkpoints.resuming import noted_settings, require_same_config
from flowgru.training.checkpoints.store import STATE, WEIGHTS, load_checkpoint
from flowgru.training.run_log import read_log

Reader = Callable[[Path], object]


class Kind(NamedTuple):
    """A kind of file: a good one, the name it must have, and who reads it."""

    name: str
    data: bytes
    readers: tuple[Reader, ...]
    weight: int
    """How often it is drawn, in comparison with the others."""


def kinds(folder: Path) -> list[Kind]:
    """Every kind; the good files are made in the folder."""
    return [*_flows(folder), *_pictures(folder), *_videos(folder), *_texts(folder), *_weights(folder)]


def _flows(folder: Path) -> Iterator[Kind]:
    flow = np.random.default_rng(0).normal(size=(9, 11, 2)).astype(np.float32)
    for suffix in ("flo", "pfm", "png", "npz", "flo5"):
        write_flow(folder / f"flow.{suffix}", flow)
        yield Kind(f"flow.{suffix}", (folder / f"flow.{suffix}").read_bytes(), (read_flow, flow_size), 4)
    np.save(folder / "flow.npy", flow)
    yield Kind("flow.npy", (folder / "flow.npy").read_bytes(), (read_flow, flow_size), 4)


def _pictures(folder: Path) -> Iterator[Kind]:
    readers: tuple[Reader, ...] = (read_image, image_size, num_pictures, _animated)
    frames = [Image.fromarray(frame) for frame in moving_frames(3, 24, 20)]
    rgb, deep = frames[0], np.random.default_rng(0).integers(0, 2**16, (24, 20), np.uint16)
    more: dict[str, Any] = {"save_all": True, "append_images": frames[1:], "duration": 40}
    options: dict[str, Any]
    for name, picture, options in (
        ("a.png", rgb, {}),
        ("palette.png", rgb.quantize(8), {"transparency": 3}),
        ("deep.png", Image.fromarray(deep), {}),
        ("a.jpg", rgb, {"exif": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"}),
        ("a.bmp", rgb, {}),
        ("a.ppm", rgb, {}),
        ("a.tga", rgb, {"compression": "tga_rle"}),
        ("a.webp", rgb, {}),
        ("a.jp2", rgb, {}),
        ("a.tif", rgb, {"compression": "tiff_lzw"}),
        ("deep.tif", Image.fromarray(deep), {"compression": "tiff_deflate"}),
        ("pages.tif", rgb, more),
        ("a.gif", rgb, more),
        ("moving.webp", rgb, more),
        ("moving.png", rgb, more),
    ):
        picture.save(folder / name, **options)
        yield Kind(name, (folder / name).read_bytes(), readers, 2)


def _animated(path: Path) -> int:
    return sum(picture.image.size for picture in read_animation(path, end=5))


def _videos(folder: Path) -> Iterator[Kind]:
    frames = moving_frames(6, 48, 64)
    for name, codec in (
        ("a.mp4", "libx264"),
        ("a.mkv", "libx264"),
        ("a.avi", "mpeg4"),
        ("a.ts", "mpeg2video"),
        ("a.webm", "libvpx-vp9"),
        ("b.mp4", "libx265"),
        ("a.mov", "mjpeg"),
    ):
        pixels: dict[str, Any] = {"pixel_format": "yuvj420p"} if codec == "mjpeg" else {}
        quiet: dict[str, Any] = {"codec_options": {"x265-params": "log-level=none"}} if codec == "libx265" else {}
        write_clip(folder / name, frames, codec=codec, **pixels, **quiet)
        yield Kind(name, (folder / name).read_bytes(), (_filmed,), 3)


def _filmed(path: Path) -> int:
    return sum(frame.image.size for source in open_frames([path], 1, 12) for frame in source)


def _texts(folder: Path) -> Iterator[Kind]:
    for name, task in (("train.yaml", train), ("compare.yaml", compare)):
        write_config(folder / name) if task is train else _recipe(folder / name)
        parser = TaskParser(f"flowgru {name}", task)

        def parse(path: Path, parser: TaskParser = parser) -> object:
            return parser.parse(["--config", str(path), "--output", "x"])

        yield Kind(name, (folder / name).read_bytes(), (parse,), 2)
    rows = "first,second,flow,valid,set,name\nflow.png,flow.png,flow.flo,,a,b\nflow.png,flow.png,flow.flo,flow.png,,\n"
    yield Kind("m.csv", rows.encode(), (list_manifest,), 2)
    write_comparison(folder / "compared", rows=("a", "b"), regimes=("equal_width",), seeds=(0,), sets=("synthetic",))
    text = (folder / "compared" / "measurements.csv").read_bytes()
    yield Kind("measurements.csv", text[:3000].rpartition(b"\n")[0] + b"\n", (read_measurements,), 2)
    about = (folder / "compared" / "comparison.json").read_bytes()

    def read_about(path: Path) -> object:
        (folder / "compared" / "comparison.json").write_bytes(path.read_bytes())
        return read_results(folder / "compared")

    yield Kind("comparison.json", about, (read_about,), 2)
    lines = b"".join(json.dumps({"step": step, "loss": 1.5, "epe_per_image": 2}).encode() + b"\n" for step in range(9))
    yield Kind("log.jsonl", lines, (lambda path: read_log(path.parent),), 1)
    noted = write_config(folder / "config.yaml").read_bytes()

    def same(path: Path) -> object:
        settings = noted_settings(path.parent, "name another")
        return None if settings is None else require_same_config(settings, TINY, path.parent, "name another")

    yield Kind("config.yaml", noted, (same,), 1)


def _recipe(path: Path) -> None:
    from comparisons import RECIPE

    path.write_text(RECIPE)


def _weights(folder: Path) -> Iterator[Kind]:
    torch.manual_seed(0)
    run = new_run(machine={"processes": 1, "device": "cpu"})
    weights = run.network.state_dict()
    card = {"network": {"preset": "compact", "operator": "conv_gru"}, "iterations": 2}
    write_model_file(folder / "model.safetensors", weights, card)
    yield Kind("model.safetensors", (folder / "model.safetensors").read_bytes(), (read_weights, _loaded), 1)
    few = {name: value for name, value in list(weights.items())[:6]}
    torch.save({"state_dict": few, "epoch": 3}, folder / "a.pth")
    yield Kind("a.pth", (folder / "a.pth").read_bytes(), (read_weights,), 4)
    torch.save(few, folder / "old.pth", _use_new_zipfile_serialization=False)
    yield Kind("old.pth", (folder / "old.pth").read_bytes(), (read_weights,), 4)
    packed = io.BytesIO()
    state = {**run.state(), "mean": {}, "log": None}
    torch.save(state, packed)

    def resealed(path: Path) -> object:
        """The state of a checkpoint whose digests fit."""
        target = path.parent / f"step-{abs(hash(path.read_bytes())):08d}"
        write_sealed(target, {WEIGHTS: safetensors_bytes({}), STATE: path.read_bytes()}, {"step": 0})
        return require_content(run, load_checkpoint(target), TINY.steps)

    yield Kind("train.pt", packed.getvalue(), (resealed,), 2)


def _loaded(path: Path) -> object:
    return load_model(path, "cpu")
