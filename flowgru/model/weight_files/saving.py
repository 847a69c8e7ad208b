"""`save_model` writes a network and its card to a file that load_model reads, `push_model` to the Hugging Face Hub."""

from dataclasses import asdict
from typing import Any

import yaml

from flowgru.errors import RequestError, one_line
from flowgru.files.json_text import json_text
from flowgru.kinds import given_path
from flowgru.model.flow_network import FlowNetwork
from flowgru.model.weight_files.card import OWN_LICENCE
from flowgru.model.weight_files.hub import README, upload
from flowgru.model.weight_files.model_file import WEIGHTS, model_file_bytes, write_model_file

SUFFIX = ".safetensors"


def save_model(network: Any, path: object, *, overwrite: bool = False) -> None:
    """Writes a network, with its card, to a .safetensors file; load_model gives the same network again.

    network: what load_model gives, or a FlowNetwork. RequestError for anything else, for another suffix, and where `path`
    exists without `overwrite`; MachineError where the disk refuses.
    """
    target = given_path(path)
    if target.suffix != SUFFIX:
        raise RequestError(f"cannot write a model to {target}: the suffix must be {SUFFIX}")
    write_model_file(target, _checked(network).state_dict(), _card(network), overwrite=overwrite)


def push_model(network: Any, repository: str, *, private: bool = False) -> str:
    """Puts a network's weights and card into a repository on the Hugging Face Hub, as one commit.

    Gives the address, hf://owner/name, that load_model and --model take. The repository is made where there is none,
    `private` or for everybody; README.md there shows the card.
    repository: owner/name. Whoever calls must be logged in (`hf auth login`, or HF_TOKEN). RequestError and MachineError as
    of load_model, and without `pip install 'flowgru[hub]'`.
    """
    name = repository.removeprefix("hf://") if isinstance(repository, str) else ""
    if name.count("/") != 1:
        raise RequestError(f"repository is {repository!r}: expected owner/name")
    card = _card(_checked(network))
    files = {WEIGHTS: model_file_bytes(network.state_dict(), card), README: page(name, card).encode()}
    return upload(name, files, private=private)


def page(name: str, card: dict[str, Any]) -> str:
    """What the Hub shows of a model: how it is used, and all that its card says."""
    licence = str(card.get("license") or "")
    facts: dict[str, Any] = {"library_name": "flowgru", "tags": ["optical-flow"]}
    facts |= {"license": "bsd-3-clause"} if licence == OWN_LICENCE else {"license": "other", "license_name": "see-card"}
    lines = [
        "---",
        yaml.safe_dump(facts, sort_keys=False).strip(),
        "---",
        f"# {name}",
        "",
        "A network that estimates optical flow: for every pixel of a video frame, where it is in the next frame.",
        "",
        "```sh",
        "pip install 'flowgru[hub]'",
        f"flowgru estimate clip.mp4 --model hf://{name} --output out",
        "```",
        "",
        "```python",
        "from flowgru import estimate_flow, load_model",
        "",
        f'for flow in estimate_flow("clip.mp4", load_model("hf://{name}")):  # float32 tensors [2, H, W]: u right, v down',
        "    print(flow.shape)",
        "```",
        "",
        "The weights carry this card:",
        "",
        "```json",
        json_text(card, indent=2).replace("```", "'''"),
        "```",
        "",
    ]
    return "\n".join(lines)


def _checked(network: Any) -> FlowNetwork:
    if not isinstance(network, FlowNetwork):
        raise RequestError(f"network is a {type(network).__name__}: expected what load_model gives")
    return network


def _card(network: FlowNetwork) -> dict[str, Any]:
    card = {**network.card, "network": asdict(network.config)}
    try:
        json_text(card)
    except (TypeError, ValueError) as error:
        raise RequestError(
            f"the network's card is no JSON ({one_line(error)}): expected texts, numbers, lists, dicts"
        ) from None
    return card
