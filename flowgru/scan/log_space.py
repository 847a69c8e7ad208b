"""The form in which minGRU was published (Feng et al. 2024, arXiv 2410.01201, appendix B), kept for study.

    log h[t] = A[t] + logcumsumexp(log update - A)[t],   A = cumsum(log decay)

Both sums run over the whole sequence, so the digits of a state are those left of A[t] - A[s]: with long sequences or
gates near 0 it loses most of them, and a gate that is 0 in floating point has no logarithm. docs/scan.md has numbers.
"""

from torch import Tensor


def log_space_scan(decay: Tensor, update: Tensor, dim: int) -> Tensor:
    """h[t] = decay[t] * h[t-1] + update[t] with h[-1] = 0, along `dim`. ValueError unless 0 < decay < 1, update > 0."""
    if not bool(((decay > 0) & (decay < 1)).all()) or not bool((update > 0).all()):
        raise ValueError(
            "scan backend 'log_space' takes logarithms: expected 0 < decay < 1 and update > 0 everywhere; "
            "choose a backend in linear space"
        )
    total = decay.log().cumsum(dim)
    return (total + (update.log() - total).logcumsumexp(dim)).exp()
