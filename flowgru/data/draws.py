"""The random numbers of one generated thing, as plain Python numbers: a pure function of two integers."""

import hashlib
import math
from collections.abc import Sequence
from typing import TypeVar

import torch

Choice = TypeVar("Choice")
WORD = 2**32


def _scatter(number: int) -> int:
    """MurmurHash3's 32-bit finaliser: neighbours end up far apart, and no two numbers in the same place."""
    number = ((number ^ number >> 16) * 0x85EBCA6B) % WORD
    number = ((number ^ number >> 13) * 0xC2B2AE35) % WORD
    return number ^ number >> 16


def stream_seed(seed: int, index: int) -> int:
    """The 32 bits that start stream `index` of `seed`: all different for indices below 2^32.

    torch's generator on the CPU keeps only 32 bits of its seed: a plain hash would make two of 100,000 streams equal.
    """
    digest = hashlib.blake2b(seed.to_bytes(16, "little", signed=True), digest_size=8).digest()
    shift, factor = int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little") | 1
    return _scatter(_scatter(index % WORD ^ shift) * factor % WORD)


class Draws:
    """Draws of stream `index` of `seed`; drawn in blocks because a tensor for each number would cost far more."""

    def __init__(self, seed: int, index: int) -> None:
        self.generator = torch.Generator().manual_seed(stream_seed(seed, index))
        self._numbers: list[float] = []

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        if not self._numbers:
            self._numbers = torch.rand(256, generator=self.generator).tolist()
        return low + (high - low) * self._numbers.pop()

    def log_uniform(self, low: float, high: float) -> float:
        """Every factor between low and high equally likely."""
        return low * (high / low) ** self.uniform()

    def normal(self, deviation: float = 1.0) -> float:
        """Gaussian around zero (Box and Muller)."""
        return deviation * math.sqrt(-2 * math.log(1 - self.uniform())) * math.cos(2 * math.pi * self.uniform())

    def angle(self) -> float:
        return self.uniform(0.0, 2 * math.pi)

    def chance(self, probability: float) -> bool:
        return self.uniform() < probability

    def integer(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return min(low + int(self.uniform() * (high - low + 1)), high)

    def choice(self, among: Sequence[Choice]) -> Choice:
        return among[self.integer(0, len(among) - 1)]
