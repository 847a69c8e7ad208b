"""minGRU over time: a clip at once is its pairs one after the other, and a new memory changes nothing."""

from dataclasses import replace

import pytest
import torch
from fake_cuda import fake_cuda

from flowgru.config import NetworkConfig
from flowgru.errors import RequestError
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.temporal_memory import TemporalMemory
from flowgru.model.weight_files.loading import load_model
from flowgru.model.weight_files.model_file import write_model_file
from flowgru.model.weight_files.transfer import transfer

CONFIG = NetworkConfig("compact", "min_gru", memory=True)


def trained(config: NetworkConfig = CONFIG) -> FlowNetwork:
    """A network whose memory counts."""
    torch.manual_seed(0)
    network = FlowNetwork(config).for_inference()
    assert network.temporal_memory is not None
    torch.nn.init.normal_(network.temporal_memory.to_hidden.weight, std=0.3)
    return network


def test_the_scan_over_a_clip_is_one_pair_after_the_other_in_values_and_gradients():
    torch.manual_seed(0)
    memory = TemporalMemory(4, 3).double()
    torch.nn.init.normal_(memory.to_hidden.weight)
    clips, pairs = 2, 5
    inputs = [torch.randn(clips * pairs, channels, 6, 7, dtype=torch.float64) for channels in (4, 3)]
    weights = torch.randn(2, clips * pairs, 4, 6, 7, dtype=torch.float64)

    def by_hand(hidden: torch.Tensor, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gates, state, found = memory.cell.gates, torch.zeros(clips, 4, 6, 7, dtype=torch.float64), []
        for place in range(pairs):
            here = hidden[place::pairs], context[place::pairs]
            z, c = (gates.recurrent(here[0].tanh()) + gates.context(here[1].relu())).chunk(2, dim=1)
            state = (1 - z.sigmoid()) * state + z.sigmoid() * c.tanh()
            found.append((here[0] + memory.to_hidden(state), state))
        hidden, states = (torch.stack(parts, dim=1).flatten(0, 1) for parts in zip(*found, strict=True))
        return hidden, states

    def in_steps(hidden: torch.Tensor, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        before, found = None, []
        for place in range(pairs):
            found.append(memory(hidden[place::pairs], context[place::pairs], before))
            before = found[-1][1]
        hidden, states = (torch.stack(parts, dim=1).flatten(0, 1) for parts in zip(*found, strict=True))
        return hidden, states

    results = []
    for form in (by_hand, in_steps, lambda hidden, context: memory(hidden, context, None, pairs_in_clip=pairs)):
        leaves = [values.clone().requires_grad_() for values in inputs]
        found = form(*leaves)
        loss = (torch.stack(found) * weights).sum()
        results.append([*found, *torch.autograd.grad(loss, [*leaves, *memory.parameters()])])
    for other in results[1:]:
        for value, expected in zip(other, results[0], strict=True):
            torch.testing.assert_close(value, expected)


def test_a_whole_batch_of_clips_has_the_flows_of_its_pairs_one_after_the_other():
    network = trained()
    frames = torch.rand(2, 4, 3, 128, 128)
    first, second = frames[:, :-1].flatten(0, 1), frames[:, 1:].flatten(0, 1)
    with torch.no_grad():
        together = network(first, second, iterations=2, pairs_in_clip=3)
        for clip in range(2):
            before, alone = None, None
            for place in range(3):
                pair = frames[clip, None, place], frames[clip, None, place + 1]
                found = network(*pair, iterations=2, memory=before)
                alone = network(*pair, iterations=2)
                torch.testing.assert_close(
                    found.flows[-1][0], together.flows[-1][3 * clip + place], rtol=1e-4, atol=1e-4
                )
                before = found.memory
            assert alone is not None and not torch.allclose(alone.flows[-1], found.flows[-1], rtol=1e-3, atol=1e-3)


def test_the_default_with_a_new_memory_is_the_default():
    default = load_model("default", "cpu")
    network = FlowNetwork(replace(default.config, memory=True))
    new = transfer(default, network)
    assert new and all(name.startswith("temporal_memory.") for name in new)
    network = network.for_inference()
    first, second = torch.rand(2, 1, 3, 128, 136)
    with torch.inference_mode():
        before = network(first, second, iterations=1).memory
        assert before is not None and before.abs().max() > 0.01
        for memory in (None, before):
            found = network(first, second, iterations=3, memory=memory)
            expected = default(first, second, iterations=3)
            assert all(torch.equal(one, other) for one, other in zip(found.flows, expected.flows, strict=True))
    assert expected.memory is None


def test_the_other_weights_begin_as_without_a_memory():
    networks = []
    for memory in (True, False):
        torch.manual_seed(3)
        networks.append(FlowNetwork(replace(CONFIG, memory=memory, confidence=True)).state_dict())
    with_memory, without = networks
    assert {name for name in with_memory if name not in without} and without.keys() <= with_memory.keys()
    assert all(torch.equal(value, with_memory[name]) for name, value in without.items())


def test_a_value_stays_for_one_to_eight_pairs_at_first():
    memory = TemporalMemory(5, 3)
    bias = memory.cell.gates.recurrent.bias
    assert bias is not None
    kept = 1 - bias[:5].sigmoid()
    torch.testing.assert_close(kept / (1 - kept), torch.tensor([1.0, 8**0.25, 8**0.5, 8**0.75, 8.0]))


@pytest.mark.parametrize("with_card", [True, False])
def test_a_saved_network_loads_with_its_memory(tmp_path, with_card):
    network, path = trained(replace(CONFIG, operator="conv_gru")), tmp_path / "model.safetensors"
    card = {"network": {"preset": "compact", "operator": "conv_gru", "memory": True}} if with_card else {}
    write_model_file(path, network.state_dict(), card)
    loaded = load_model(path, "cpu")
    assert loaded.config == network.config
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("setting", ["memory", "confidence", "texture_gate"])
def test_a_card_says_true_or_false(tmp_path, setting):
    path = tmp_path / "model.safetensors"
    card = {"network": {"preset": "compact", "operator": "min_gru", "memory": True, setting: "yes"}}
    write_model_file(path, trained().state_dict(), card)
    with pytest.raises(RequestError, match=f'says {setting} "yes": expected true or false'):
        load_model(path, "cpu")


def test_what_does_not_fit_is_refused():
    network, pair = trained(), torch.rand(2, 3, 3, 128, 128)
    with pytest.raises(RequestError, match=r"memory is \[3, 80, 4, 4\]: expected \[3, 80, 16, 16\]"):
        network(*pair, iterations=1, memory=torch.zeros(3, 80, 4, 4))
    with pytest.raises(RequestError, match="pairs_in_clip is 2 and the batch has 3 pairs: expected whole clips"):
        network(*pair, iterations=1, pairs_in_clip=2)
    without = FlowNetwork(replace(CONFIG, memory=False))
    with pytest.raises(RequestError, match="memory is given, and this network has none"):
        without(*pair, iterations=1, memory=torch.zeros(3, 80, 16, 16))


def test_a_memory_that_was_kept_on_the_cpu_goes_on_on_a_gpu():
    with fake_cuda(), torch.inference_mode():
        network = FlowNetwork(CONFIG).eval()
        first, second = (network.encode(torch.rand(1, 3, 128, 128)) for _ in range(2))
        assert first.context is not None
        kept = torch.zeros(1, network.sizes.hidden_size, *first.context.shape[2:], device="cpu")
        found = network.match(first, second, iterations=1, memory=kept).memory
    assert found is not None and found.device.type == "cuda"
