"""What cannot be exported, and what is no exported file, is refused in one line."""

import pytest
from estimates import only_error
from exports import estimate

from flowgru.cli import main
from flowgru.config import NetworkConfig
from flowgru.errors import RequestError
from flowgru.estimation import exporting
from flowgru.model.exported import formats
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.loading import load_model
from flowgru.model.weight_files.model_file import write_model_file

pytest.importorskip("onnxruntime", reason="needs the extra export")


def test_another_programs_file_is_refused(pair, output, tmp_path, capsys):
    import onnx
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("a", "b")]
    graph = helper.make_graph([helper.make_node("Neg", ["a"], ["b"])], "other", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), tmp_path / "x.onnx")
    assert estimate(tmp_path / "x.onnx", *pair, "--output", output) == 2
    assert "x.onnx is not a model of flowgru's" in only_error(capsys)


def test_a_missing_file_is_one_line(pair, output, capsys):
    assert estimate("nowhere.onnx", *pair, "--output", output) == 2
    assert "there is no model file nowhere.onnx" in only_error(capsys)


def test_an_archive_that_could_run_code_is_not_loaded(pair, output, capsys):
    assert estimate("flow.pt2", *pair, "--output", output, "--device", "cpu") == 2
    said = only_error(capsys)
    assert "flow.pt2 is named like an exported model; the commands that estimate run .onnx and .xml" in said


def test_an_exported_file_is_no_file_of_weights():
    with pytest.raises(RequestError, match=r"flow\.onnx is named like an exported model"):
        load_model("flow.onnx", "cpu")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "tflite"], "expected one of onnx, torch-export, openvino"),
        (["--iterations", "0"], "--iterations is 0"),
        (["--max-size", "250"], "--max-size is 250: it must be a multiple of 8"),
        (["--format", "openvino"], "a file of the format openvino ends in .xml; name it so, or give --format onnx"),
        (["--model", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--model", "flow.onnx"], "name the weights it was made from"),
    ],
)
def test_a_request_without_sense_is_one_line(tmp_path, capsys, words, said):
    assert main(["export", "--output", str(tmp_path / "flow.onnx"), *words]) == 2
    assert said in only_error(capsys) and not list(tmp_path.iterdir())


def test_a_memory_over_time_is_not_exported(tmp_path, capsys):
    network = FlowNetwork(NetworkConfig("compact", "min_gru", memory=True))
    card = {"network": {"preset": "compact", "operator": "min_gru", "memory": True}}
    write_model_file(tmp_path / "model.safetensors", network.state_dict(), card)
    words = ["--model", str(tmp_path / "model.safetensors"), "--output", str(tmp_path / "flow.onnx")]
    assert main(["export", *words]) == 2
    assert "carries a memory from pair to pair (network.memory), and an exported file carries none" in only_error(
        capsys
    )
    assert not (tmp_path / "flow.onnx").exists()


def test_where_nothing_can_be_written_nothing_is_traced(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(exporting, "trace", lambda *_: pytest.fail("it was traced"))
    (tmp_path / "file").touch()
    assert main(["export", "--output", "/proc/flow.onnx"]) == 4
    reason = "No such file or directory; name another --output"
    assert only_error(capsys) == f"error: cannot write /proc/flow.onnx: {reason}"
    assert main(["export", "--output", str(tmp_path / "file" / "x.onnx")]) == 2
    assert only_error(capsys) == f"error: --output {tmp_path / 'file'} is a file: name a folder"


@pytest.mark.parametrize(("name", "taken"), [("flow.onnx", "flow.onnx"), ("flow.xml", "flow.bin")])
def test_nothing_is_overwritten_unasked(tmp_path, capsys, name, taken):
    (tmp_path / taken).write_text("mine")
    kind = "onnx" if name.endswith(".onnx") else "openvino"
    assert main(["export", "--output", str(tmp_path / name), "--format", kind]) == 2
    assert f"{taken} exists already: give --overwrite" in only_error(capsys)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(taken, "mine")]


def test_a_missing_package_is_named_with_the_command_that_brings_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == "onnxscript" else name)
    assert main(["export", "--output", str(tmp_path / "flow.onnx")]) == 2
    assert only_error(capsys) == "error: the package onnxscript is missing: pip install 'flowgru[export]'"


NETWORK = '{"preset": "compact", "operator": "conv_gru"}'
LIES = [
    '{"iterations": 1, "network": {"hidden_size": "a"}, "export": {"max_size": true}}',
    '{"iterations": 1, "network": {"hidden_size": "a"}, "export": {"max_size": 256}}',
    f'{{"iterations": 0, "network": {NETWORK}, "export": {{"max_size": 256}}}}',
    f'{{"iterations": -3, "network": {NETWORK}, "export": {{"max_size": 256}}}}',
    f'{{"iterations": 1, "network": {NETWORK}, "export": {{"max_size": 0}}}}',
    f'{{"iterations": 1, "network": {NETWORK}, "export": 3}}',
    '{"iterations": 1, "network": 3, "export": {"max_size": 256}}',
    '{"iterations": 1, "network": {"preset": [], "operator": 3}, "export": {"max_size": 256}}',
    f'{{"iterations": 1, "network": {NETWORK[:-1]}, "texture_floor": "a"}}, "export": {{"max_size": 256}}}}',
    "[" * 10_000,
    "[1]",
]


def lying(path, card: str, outputs: dict[str, list[int | str]]) -> None:
    """An ONNX file that gives its first input back in the shapes of `outputs`."""
    import onnx
    from onnx import TensorProto, helper

    size = [1, 3, "height", "width"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name in ("first", "second")]
    nodes, given = [], []
    for name, shape in outputs.items():
        nodes.append(helper.make_node("Constant", [], [f"{name}_shape"], value_ints=shape))
        nodes.append(helper.make_node("ConstantOfShape", [f"{name}_shape"], [name]))
        given.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    file = helper.make_model(
        helper.make_graph(nodes, "lying", inputs, given), opset_imports=[helper.make_opsetid("", 18)], ir_version=8
    )
    helper.set_model_props(file, {"flowgru_card": card})
    onnx.save(file, path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--scales", "2"], "--scales 2 cannot be kept by x.onnx: it was exported without the input initial_flow"),
        (["--coarse-iterations", "5"], "--coarse-iterations 5 cannot be kept by x.onnx: it always does 1"),
        (["--coarse-iterations", "1"], "--coarse-iterations has no effect where the flow is refined at one scale"),
    ],
)
def test_scales_that_a_file_cannot_have_are_refused(pair, output, tmp_path, capsys, words, said):
    card = f'{{"iterations": 1, "network": {NETWORK}, "license": "CC0-1.0", "export": {{"max_size": 256}}}}'
    lying(tmp_path / "x.onnx", card, {"flow": [1, 2, 136, 152], "coarse_flow": [1, 2, 17, 19]})
    assert estimate(tmp_path / "x.onnx", *pair, "--output", output, *words) == 2
    assert said in capsys.readouterr().err.splitlines()[-1] and not output.exists()


@pytest.mark.parametrize("card", LIES, ids=range(len(LIES)))
def test_a_card_that_lies_is_one_line(pair, output, tmp_path, capsys, card):
    lying(tmp_path / "x.onnx", card, {"flow": [1, 2, 8, 8], "coarse_flow": [1, 2, 1, 1]})
    assert estimate(tmp_path / "x.onnx", *pair, "--output", output) == 2
    assert "x.onnx" in only_error(capsys) and not output.exists()


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({"flow": [1, 2, 8, 8], "coarse_flow": [1, 2, 17, 19]}, "gives torch.float32 [1, 2, 8, 8] as flow"),
        ({"flow": [1, 2, 136, 152], "coarse_flow": [1, 2, 3, 3]}, "gives torch.float32 [1, 2, 3, 3] as coarse_flow"),
        ({"flow": [1, 2, 136, 152]}, "gives nothing as coarse_flow"),
        ({"flow": [1, 2, 136, 152], "coarse_flow": [1, 2, 17, 19], "confidence": [5]}, "as confidence"),
    ],
)
def test_a_file_that_gives_no_flow_is_one_line(pair, output, tmp_path, capsys, outputs, said):
    card = f'{{"iterations": 1, "network": {NETWORK}, "export": {{"max_size": 256}}}}'
    lying(tmp_path / "x.onnx", card, outputs)
    assert estimate(tmp_path / "x.onnx", *pair, "--output", output) == 2
    assert said in only_error(capsys) and not output.exists()
