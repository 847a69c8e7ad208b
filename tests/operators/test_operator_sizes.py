"""What update operators cost in parameters and multiply-adds, and the widths, options and names that they take."""

import pytest
import torch
from textbook import refine
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from flowgru.config import PRESETS, NetworkConfig
from flowgru.errors import RequestError
from flowgru.model.flow_network import FlowNetwork
from flowgru.operators import UPDATE_OPERATORS, find_operator, make_operator

NUM_PARAMETERS = {  # (operator, whole network)
    ("conv_gru", "large"): (1_327_488, 5_109_696),
    ("conv_gru", "small"): (627_552, 990_162),  # RAFT-small
    ("conv_gru", "compact"): (449_520, 1_393_224),
    ("seq_conv_gru", "large"): (1_475_328, 5_257_536),  # RAFT
    ("seq_conv_gru", "small"): (697_536, 1_060_146),
    ("seq_conv_gru", "compact"): (499_680, 1_443_384),
    ("conv_min_gru", "large"): (1_376_896, 5_159_104),
    ("conv_min_gru", "small"): (655_392, 1_018_002),
    ("conv_min_gru", "compact"): (468_880, 1_412_584),
    ("conv_lstm", "large"): (1_769_984, 5_552_192),
    ("conv_lstm", "small"): (836_736, 1_199_346),
    ("conv_lstm", "compact"): (599_360, 1_543_064),
    ("conv_relu", "large"): (737_664, 4_519_872),  # RAFT's 4.1 M without the mask head's 443,200
    ("conv_relu", "small"): (375_264, 737_874),
    ("conv_relu", "compact"): (265_200, 1_208_904),
    ("conv_next", "large"): (927_488, 4_709_696),
    ("conv_next", "small"): (445_272, 807_882),
    ("conv_next", "compact"): (322_784, 1_266_488),
    ("min_gru", "large"): (590_080, 4_372_288),
    ("min_gru", "small"): (252_480, 615_090),
    ("min_gru", "compact"): (184_480, 1_128_184),
    ("conv_min_lstm", "large"): (1_819_392, 5_601_600),
    ("conv_min_lstm", "small"): (864_576, 1_227_186),
    ("conv_min_lstm", "compact"): (618_720, 1_562_424),
}


@pytest.mark.parametrize("name", UPDATE_OPERATORS)
@pytest.mark.parametrize("preset", PRESETS)
def test_parameter_counts(name, preset):
    assert (name, preset) in NUM_PARAMETERS, f"{name} in {preset} has no row in NUM_PARAMETERS"
    network = FlowNetwork(NetworkConfig(preset, name))
    counts = tuple(sum(p.numel() for p in module.parameters()) for module in (network.operator, network))
    assert counts == NUM_PARAMETERS[name, preset]


class ElementwiseCounter(TorchDispatchMode):
    """Counts one multiply-add per element that an elementwise multiplication, addition or blend writes."""

    multiply_adds = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in ("add", "sub", "mul", "addcmul", "lerp"):
            self.multiply_adds += result.numel()
        return result


def count_multiply_adds(name, preset, height, width, num_steps):
    """Of begin and the steps: convolutions by torch's counter, everything elementwise by the elements it writes."""
    sizes = PRESETS[preset]
    operator = UPDATE_OPERATORS[name](sizes.hidden_size, sizes.motion_size, sizes.context_size)
    hidden, context, motion = (
        torch.randn(1, size, height, width) for size in (sizes.hidden_size, sizes.context_size, sizes.motion_size)
    )
    with torch.no_grad(), FlopCounterMode(display=False) as convolutions, ElementwiseCounter() as elementwise:
        refine(operator, hidden, context, [motion] * num_steps)
    return convolutions.get_total_flops() // 2, elementwise.multiply_adds


@pytest.mark.parametrize("preset", PRESETS)
def test_conv_min_gru_costs_no_more_than_seq_conv_gru(preset):
    assert NUM_PARAMETERS["conv_min_gru", preset][0] <= NUM_PARAMETERS["seq_conv_gru", preset][0]
    costs = {name: count_multiply_adds(name, preset, 16, 24, num_steps=3) for name in ("conv_min_gru", "seq_conv_gru")}
    assert sum(costs["conv_min_gru"]) <= sum(costs["seq_conv_gru"])
    # Odd-even reduction takes at most 3 multiply-adds per element; beside it: one share added, two blends, one entry.
    per_step_and_pixel = 16 * 24 * PRESETS[preset].hidden_size
    assert costs["conv_min_gru"][1] <= 3 * per_step_and_pixel * (3 + 3 + 2 + 1)


def test_a_network_takes_its_operators_width_from_the_configuration():
    network = FlowNetwork(NetworkConfig("compact", "conv_gru", hidden_size=48))
    assert network.operator.hidden_size == 48
    frames = torch.rand(2, 1, 3, 40, 48)
    assert network(frames[0], frames[1], iterations=1).flows[0].shape == (1, 2, 40, 48)
    with pytest.raises(RequestError, match=r"network.hidden_size is 0: it must be 1 or more"):
        NetworkConfig(hidden_size=0)
    with pytest.raises(RequestError, match=r"hidden_size is 10: .* multiple of 4"):
        FlowNetwork(NetworkConfig("compact", "conv_min_gru", hidden_size=10))


def test_conv_min_gru_refuses_a_width_that_four_directions_cannot_share():
    with pytest.raises(ValueError, match=r"hidden_size is 10: .* multiple of 4"):
        find_operator("conv_min_gru")(10, 8, 8)


def test_an_unknown_option_of_an_operator_is_refused_with_those_it_has():
    with pytest.raises(RequestError, match=r"^seq_conv_gru has no option 'direction': its options are "):
        FlowNetwork(NetworkConfig("compact", "seq_conv_gru", options={"direction": "down"}))


def test_an_unknown_operator_gets_the_nearest_name():
    with pytest.raises(
        RequestError, match=r"unknown update operator 'mingru': did you mean 'min_gru'\? known are .*conv_gru"
    ):
        find_operator("mingru")
    with pytest.raises(RequestError, match=r"unknown update operator 'zzz': known are "):
        find_operator("zzz")
    with pytest.raises(RequestError, match="did you mean 'seq_conv_gru'"):
        FlowNetwork(NetworkConfig("compact", "seqconvgru"))


def test_an_operator_without_options_says_so():
    with pytest.raises(RequestError, match=r"^conv_relu has no option 'form': it has no options$"):
        make_operator("conv_relu", 8, 8, 8, form="gated")
