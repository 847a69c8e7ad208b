"""Writes datasets/sample, the clip that `python demo.py` shows: python tests/data/make_sample.py"""

from pathlib import Path

from flowgru.config import SyntheticSettings
from flowgru.data.formats.flow_files import write_flow
from flowgru.data.formats.images import write_image
from flowgru.data.synthetic.clip import render_clip

FOLDER = Path(__file__).parents[2] / "datasets" / "sample"
SETTINGS = SyntheticSettings(
    height=320, width=448, seed=7, speed=(7.0, 10.0), layers=(6, 10), photos=None, nonrigidity=0.3
)
INDEX = 9
NUM_FRAMES = 3

if __name__ == "__main__":
    clip = render_clip(SETTINGS, INDEX, NUM_FRAMES)
    for number, frame in enumerate(clip.frames, start=1):
        picture = (frame * 255).round().byte().permute(1, 2, 0).numpy()
        write_image(FOLDER / "frames" / f"frame_{number:04d}.png", picture, overwrite=True)
    for number, flow in enumerate(clip.flows, start=1):
        write_flow(FOLDER / "flow" / f"frame_{number:04d}.png", flow.permute(1, 2, 0).numpy(), overwrite=True)
    total = sum(path.stat().st_size for path in FOLDER.glob("*/*"))
    print(f"wrote {FOLDER}: {total / 1e3:.0f} kB")
