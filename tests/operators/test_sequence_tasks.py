"""The operators' cells are recurrent cells: over time they learn two small tasks, the min cells by the parallel scan."""

import pytest
import torch
import torch.nn.functional as F
from sequence_model import CELLS, SequenceModel
from torch import Tensor

each_kind = pytest.mark.parametrize("kind", CELLS)


def subtractions() -> tuple[Tensor, Tensor]:
    """Every a - b of 4-bit numbers modulo 16, lowest bit first: bits of a and b [256, 4, 2], of the difference [256, 4]."""
    a, b = torch.cartesian_prod(torch.arange(16), torch.arange(16)).T
    places = torch.arange(4)
    operands = torch.stack([a, b], 1)[:, None, :] >> places[:, None] & 1
    return operands.float(), ((a - b)[:, None] >> places & 1).float()


def arithmetic_sequences() -> Tensor:
    """a, a + d, ..., a + 5 d for every a in 0..40 and d in -10..10 [861, 6]."""
    starts, differences = torch.cartesian_prod(torch.arange(41), torch.arange(-10, 11)).T
    return (starts[:, None] + differences[:, None] * torch.arange(6)).float()


def train(model: SequenceModel, inputs: Tensor, targets: Tensor, loss, num_steps: int) -> None:
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=num_steps)
    for _ in range(num_steps):
        batch = torch.randint(len(inputs), (64,))
        optimizer.zero_grad()
        loss(model(inputs[batch])[..., 0], targets[batch]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def answers_of(model: SequenceModel, inputs: Tensor) -> Tensor:
    """What the model answers moment by moment, after checking that all moments at once give the same."""
    with torch.no_grad():
        answers = model.run(inputs)
        torch.testing.assert_close(model(inputs), answers, rtol=1e-5, atol=1e-5)
    return answers[..., 0]


@each_kind
def test_all_moments_at_once_and_one_by_one_are_the_same_model(kind):
    answers_of(SequenceModel(kind, 3, 2), torch.randn(5, 37, 3))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@each_kind
def test_subtraction_bit_by_bit_is_right_for_every_pair_that_was_held_back(kind):
    inputs, bits = subtractions()
    held_back, seen = torch.randperm(len(inputs)).split([64, 192])
    model = SequenceModel(kind, 2, 1)
    train(model, inputs[seen], bits[seen], F.binary_cross_entropy_with_logits, num_steps=1000)
    right = ((answers_of(model, inputs) > 0) == bits.bool()).all(1)
    print(
        f"{kind}: {right[held_back].float().mean():.1%} of the pairs held back, {right[seen].float().mean():.1%} seen"
    )
    assert right.all()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@each_kind
def test_the_next_number_of_a_short_arithmetic_sequence_rounds_to_the_right_one(kind):
    numbers = arithmetic_sequences()
    held_back, seen = torch.randperm(len(numbers)).split([215, 646])
    inputs, following = numbers[:, :-1, None] / 50, numbers[:, 1:] / 50
    model = SequenceModel(kind, 1, 1)

    def loss(answers: Tensor, following: Tensor) -> Tensor:
        return F.l1_loss(answers[:, 1:], following[:, 1:])  # one number alone does not say how it goes on

    train(model, inputs[seen], following[seen], loss, num_steps=3000)
    errors = 50 * (answers_of(model, inputs) - following)[held_back, -1].abs()
    right = (errors < 0.5).float().mean().item()
    print(f"{kind}: {right:.1%} of the sequences held back, mean error {errors.mean():.3f}, largest {errors.max():.3f}")
    assert right >= 0.98
