"""How a GPU computes convolutions: in which precision, and by which algorithm."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.backends import cudnn


@contextmanager
def convolutions(*, tf32: bool | None = None, tuned: bool | None = None) -> Iterator[None]:
    """Lets cuDNN convolve otherwise for a while; None leaves a setting as it is. Elsewhere nothing changes.

    tf32: round the factors of float32 products to 10 bits, which is PyTorch's default and much faster; False: compute in
    float32.
    tuned: try all algorithms for each new shape and keep the fastest. It pays where few shapes come often.
    """
    before = cudnn.allow_tf32, cudnn.benchmark
    cudnn.allow_tf32 = before[0] if tf32 is None else tf32
    cudnn.benchmark = before[1] if tuned is None else tuned
    try:
        yield
    finally:
        cudnn.allow_tf32, cudnn.benchmark = before
