# %% [markdown]
# # The flow of a video
#
# This example estimates the flow of a clip, says how fast each frame moves and how much of it becomes hidden, and draws
# the flow. Run it in the folder of the repository: `python docs/examples/flow_of_a_video.py`. It writes to
# `runs/flow_of_a_video` and takes some seconds.

# %%
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from PIL import Image

from flowgru import draw_arrows, estimate_flow, estimate_pairs, flow_to_image, load_model, occlusion, warp, write_flow

OUTPUT = Path("runs/flow_of_a_video")
OUTPUT.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## A clip
#
# Put the name of your own video in `CLIP` and leave the two lines after it out. They make a video of the sample clip,
# at half its size, so that the example is quick.

# %%
CLIP = OUTPUT / "clip.mp4"
sample = [iio.imread(path)[::2, ::2] for path in sorted(Path("datasets/sample/frames").glob("*.png"))]
iio.imwrite(CLIP, np.stack(sample), plugin="pyav", codec="libx264", fps=10)

frames = list(iio.imiter(CLIP, plugin="pyav"))  # uint8 arrays [H, W, 3], RGB
height, width = frames[0].shape[:2]
print(f"{len(frames)} frames of {height}x{width} pixels (height x width)")

# %% [markdown]
# ## Its flow
#
# `estimate_flow(CLIP)` would read the video itself, one frame ahead of the flow. Here the frames are there already,
# because the flow is drawn over them. The model is loaded once.

# %%
model = load_model()
flows = list(estimate_flow(frames, model))  # N frames give N - 1 tensors [2, H, W]: u to the right, v down
for number, flow in enumerate(flows, start=1):
    write_flow(OUTPUT / f"frame_{number:06d}.flo", flow, overwrite=True)
    speed = flow.norm(dim=0)
    print(f"frame {number}: mean {speed.mean():.2f} px, fastest pixel {speed.max():.2f} px")

# %% [markdown]
# ## Does it fit, and what is hidden?
#
# The second frame, brought back by the flow, should look like the first one, except where something is hidden. The flow
# in the other direction tells where that is.

# %%
for number, (first, second, flow) in enumerate(zip(frames, frames[1:], flows, strict=False), start=1):
    hidden = occlusion(flow, estimate_pairs(second, first, model)).numpy()
    back, valid = warp(second, flow)
    seen = valid & ~hidden
    before = np.abs(second.astype(float) - first)[seen].mean()
    after = np.abs(back.astype(float) - first)[seen].mean()
    print(f"frame {number}: {hidden.mean():.1%} hidden; difference to the next frame {before:.1f}, warped {after:.1f}")

# %% [markdown]
# ## Pictures
#
# One scale for all frames keeps the colours comparable. `flowgru estimate clip.mp4 --output out --arrows` makes a video
# of such pictures.

# %%
longest = max(float(flow.norm(dim=0).quantile(0.99)) for flow in flows)
for number, (frame, flow) in enumerate(zip(frames, flows, strict=False), start=1):
    sheet = np.concatenate([draw_arrows(frame, flow), flow_to_image(flow, longest)], axis=1)
    Image.fromarray(sheet).save(OUTPUT / f"picture_{number:06d}.png")
print(f"wrote {OUTPUT}")
