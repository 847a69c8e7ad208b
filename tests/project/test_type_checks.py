"""Every call of a test is checked against the annotations of what it calls, shapes where arrays are named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from jaxtyping import Float, TypeCheckError
from torch import Tensor
from type_checks import may_name_arrays

from flowgru.errors import counted
from flowgru.grid import backward_warp

roar = pytest.importorskip("beartype.roar", reason="needs the extra dev")


def test_a_wrong_type_and_a_wrong_shape_are_refused():
    assert counted(2, "pair") == "2 pairs"
    wrong: Any = "2"
    with pytest.raises(roar.BeartypeCallHintParamViolation, match="not instance of int"):
        counted(wrong, "pair")
    frame, flow = torch.rand(1, 3, 4, 5), torch.zeros(1, 2, 4, 5)
    assert backward_warp(frame, flow)[0].shape == frame.shape
    with pytest.raises(TypeCheckError, match="flow"):
        backward_warp(frame, flow[..., :4])


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Float[Tensor, "H W"], True),
        (tuple[int, Float[Tensor, "H W"]] | None, True),
        (Callable[[Float[Tensor, "H W"]], int], True),
        ("Name", True),
        (list["Tensor"], True),
        (None, False),
        (int, False),
        (Tensor, False),
        (dict[str, Path] | None, False),
        (Literal["a", "b"], False),
    ],
)
def test_a_part_of_an_annotation_that_may_be_an_array_is_seen(annotation, expected):
    assert may_name_arrays(annotation) is expected
