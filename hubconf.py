"""What torch.hub.load gives of this repository: networks that estimate optical flow, ready to use.

    model = torch.hub.load(".", "flowgru", source="local")  # of a checkout
    flow = model(first, second).flows[-1]                   # [B, 2, H, W] of pictures [B, 3, H, W] in [0, 1]

The entry points are the networks alone. With the whole way to a flow, which begins at DIS and is polished:
`flowgru.estimate_pairs(first, second, model)`.
"""

dependencies = [
    "av",
    "cv2",
    "h5py",
    "imageio",
    "jaxtyping",
    "numpy",
    "PIL",
    "safetensors",
    "scipy",
    "torch",
    "torchvision",
]


def flowgru(device=None, **options):
    """The default network, whose weights come with the repository; arguments as of flowgru.load_model."""
    from flowgru.model.weight_files.loading import load_model

    return load_model("default", device, **options)


def flowgru_raft_large(device=None, **options):
    """RAFT with torchvision's released weights, which are downloaded once; arguments as of flowgru.load_model."""
    from flowgru.model.weight_files.loading import load_model

    return load_model("raft_large", device, **options)
