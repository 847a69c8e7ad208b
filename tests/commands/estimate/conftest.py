"""What tests of `flowgru estimate` share. Nothing of flowgru is imported above: the type checks begin after this file."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flow is a function of the pictures that takes no time."""
    from estimates import PictureDifference

    monkeypatch.setattr("flowgru.estimation.clips.open_network", lambda settings: PictureDifference())


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], list[int]]:
    """Lets Ctrl-C come after so many pairs, with None never; gives a list that grows with every pair that is matched."""
    from flowgru.estimation.matching.matcher import PairMatcher

    match = PairMatcher.match

    def arm(number: int | None) -> list[int]:
        matched: list[int] = []

        def counted(self: Any, *args: Any, **options: Any) -> Any:
            if len(matched) == number:
                raise KeyboardInterrupt
            matched.append(1)
            return match(self, *args, **options)

        monkeypatch.setattr(PairMatcher, "match", counted)
        return matched

    return arm
