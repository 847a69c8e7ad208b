"""Features that are made ready to be matched lose nothing more where they come in sixteen bits."""

import pytest
import torch

from flowgru.model.encoders import MatchNorm


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_features_in_sixteen_bits_are_centred_in_float32(dtype):
    features = (20 + torch.randn(2, 8, 16, 24)).to(dtype)  # what all pixels share is most of them
    found = MatchNorm(1e-6)(features)
    assert found.dtype == torch.float32
    assert torch.equal(found, MatchNorm(1e-6)(features.float()))
