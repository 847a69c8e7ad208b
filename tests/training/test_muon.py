"""Muon moves kernels as torch's moves matrices, all else as AdamW does, and a run with it goes on to the same bits."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_run import TINY, new_run
from torch import Tensor, nn

from flowgru.errors import RequestError
from flowgru.training.checkpoints.content import require_content
from flowgru.training.checkpoints.store import Checkpoint, load_checkpoint
from flowgru.training.muon import Muon, is_hidden_kernel, orthogonalised
from flowgru.training.run import train

WITH_MUON = replace(TINY, steps=4, keep_checkpoints=6, optimizer=replace(TINY.optimizer, method="muon"))
RATE, WEIGHT_DECAY = 0.02, 0.1


def moved(optimizer: torch.optim.Optimizer, parameter: Tensor, gradients: list[Tensor]) -> Tensor:
    """The parameter after a step for each gradient."""
    for gradient in gradients:
        parameter.grad = gradient.reshape(parameter.shape).clone()
        optimizer.step()
    return parameter.detach()


def parameter_and_gradients(shape: tuple[int, ...]) -> tuple[Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(shape, generator=generator), [torch.randn(shape, generator=generator) for _ in range(3)]


@pytest.mark.parametrize("shape", [(16, 144), (96, 40), (32, 32)])
def test_an_orthogonalised_matrix_keeps_its_directions_and_has_singular_values_near_1(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    within = left.T @ orthogonalised(matrix * 1e-3) @ right.T  # its length does not count
    found = within.diagonal()
    assert (within - found.diag()).abs().max() < 1e-6
    usual = values > 0.01 * matrix.norm()
    assert usual.sum() > 10 and found[usual].min() > 0.67 and found.max() < 1.21
    assert not torch.allclose(values / values[0], found, atol=0.2)


@pytest.mark.parametrize(("shape", "extent"), [((16, 24), (1, 1)), ((16, 72), (3, 3)), ((40, 12), (1, 1))])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_kernel_moves_as_torchs_muon_moves_a_matrix(shape, extent, memory_format):
    start, gradients = parameter_and_gradients(shape)
    matrix = nn.Parameter(start.clone())
    textbook = torch.optim.Muon([matrix], RATE, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw")
    expected = moved(textbook, matrix, gradients)
    kernel = nn.Parameter(start.reshape(shape[0], -1, *extent).clone(memory_format=memory_format))
    assert is_hidden_kernel(kernel)
    found = moved(Muon([kernel], RATE, weight_decay=WEIGHT_DECAY), kernel, gradients).reshape(shape)
    assert (found - start).abs().mean() > 0.2 * RATE
    assert (found - expected).abs().max() < 0.02 * (found - start).abs().max()  # torch's computes in bfloat16


@pytest.mark.parametrize("shape", [(16,), (16, 3, 7, 7), (2, 64, 3, 3), (16, 1, 5, 5)])
def test_what_is_no_hidden_kernel_moves_as_adamws_does(shape):
    start, gradients = parameter_and_gradients(shape)
    first, second = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    expected = moved(torch.optim.AdamW([first], RATE, weight_decay=WEIGHT_DECAY), first, gradients)
    assert torch.equal(moved(Muon([second], RATE, weight_decay=WEIGHT_DECAY), second, gradients), expected)


def test_a_checkpoint_without_its_momentum_is_refused():
    run = new_run(machine={"processes": 1, "device": "cpu"})
    trained = list(run.network.parameters())
    run.optimizer = Muon(trained)
    for parameter in trained:
        parameter.grad = torch.ones_like(parameter)
    run.optimizer.step()
    checkpoint = Checkpoint(0, run.network.state_dict(), {**run.state(), "log": {}}, Path("run/step-00000000"))
    require_content(run, checkpoint, 6)
    number = next(number for number, parameter in enumerate(trained) if is_hidden_kernel(parameter))
    state = checkpoint.state["optimizer"]["state"]
    del state[number]["momentum_buffer"]
    with pytest.raises(RequestError, match=rf"optimizer.state.{number} lacks momentum_buffer"):
        require_content(run, checkpoint, 6)


def test_a_run_with_it_goes_on_to_the_same_bits_and_is_another_than_with_adamw(tmp_path):
    train(WITH_MUON, str(tmp_path / "whole"), device="cpu")
    half = tmp_path / "whole/step-00000002"
    train(WITH_MUON, str(tmp_path / "cut"), resume=str(half), device="cpu")
    train(replace(WITH_MUON, optimizer=TINY.optimizer), str(tmp_path / "adamw"), device="cpu")
    whole, cut, adamw = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut", "adamw"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert any(not torch.equal(whole[name], adamw[name]) for name in whole)
    kept = load_checkpoint(half).state["optimizer"]["state"].values()
    assert {frozenset(entry) for entry in kept} == {
        frozenset({"step", "momentum_buffer"}),
        frozenset({"step", "exp_avg", "exp_avg_sq"}),
    }
