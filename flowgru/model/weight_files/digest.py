"""What tells the weights of a network from others, wherever they lie."""

import hashlib
from pathlib import Path

import torch

from flowgru.model.exported.formats import kept_beside
from flowgru.model.pair_network import PairNetwork


def weights_digest(network: PairNetwork, model: str) -> str:
    """A digest of a network's weights, or of the file that an exported one runs."""
    digest = hashlib.sha256()
    if isinstance(network, torch.nn.Module):
        for name, value in network.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    else:
        for path in (Path(model), *kept_beside(Path(model))):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
