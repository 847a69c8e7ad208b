"""All that a run of `flowgru estimate` reads: what its results depend on, and what they may not replace."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flowgru.config.estimation import EstimateSettings
from flowgru.data.video.frames import FrameSource
from flowgru.estimation.file_names import clip_folders
from flowgru.estimation.matching.initial_flow import FlowFolder
from flowgru.estimation.opening import is_exported
from flowgru.model.exported.formats import kept_beside
from flowgru.model.weight_files.hub import downloaded, is_hub_address
from flowgru.model.weight_files.loading import DEFAULT_MODEL


class Reads:
    """The files of a run: frames and initial flows of each clip, by its name, and the model."""

    def __init__(self, sources: Sequence[FrameSource], settings: EstimateSettings) -> None:
        """RequestError where there is no folder of a clip's initial flows; errors of a download as of load_model."""
        self.frames = {source.name: source.paths for source in sources}
        self.flow_folders: dict[str, FlowFolder] = {}
        """Where the initial flows of each clip come from, if they come from files."""
        if settings.flow_folder is not None:
            # Several clips have a folder each, as their results do.
            folders = clip_folders(Path(settings.flow_folder), list(self.frames))
            self.flow_folders = {name: FlowFolder(folder) for name, folder in zip(self.frames, folders, strict=True)}
        self.initial_flows = {name: folder.files() for name, folder in self.flow_folders.items()}
        model = Path(settings.model)
        self.model = [model] if os.path.isfile(model) else []
        self.weights = weights_beside(settings.model)

    @property
    def files(self) -> list[Path]:
        """All of them."""
        of_clips = [*self.frames.values(), *self.initial_flows.values()]
        return [*(path for paths in of_clips for path in paths), *self.model, *self.weights]

    def noted(self, model: str) -> dict[str, Any]:
        """What a request says of them under the names of its entries; `files` and `initial_flows` by clip."""
        return {
            "model": f"{model} {fingerprint(self.model)}" if self.model else model,
            **({"weights": content_digest(self.weights)} if self.weights else {}),
            "files": {name: fingerprint(paths) for name, paths in self.frames.items()},
            "initial_flows": {name: fingerprint(paths) for name, paths in self.initial_flows.items()},
        }


def weights_beside(model: str) -> list[Path]:
    """The files of weights of which a model's name, size and time tell nothing; errors of a download as of load_model."""
    if model == "default":  # another version of flowgru may have other weights
        return [DEFAULT_MODEL] if DEFAULT_MODEL.is_file() else []
    if is_hub_address(model):
        return [downloaded(model)]
    return kept_beside(Path(model)) if os.path.isfile(model) and is_exported(model) else []


def fingerprint(paths: Sequence[Path]) -> str:
    """Tells files from others, and from themselves once they have been changed."""
    digest = hashlib.sha256()
    for path in paths:
        facts = path.stat() if os.path.exists(path) else None
        known = None if facts is None else (facts.st_size, facts.st_mtime_ns)
        digest.update(repr((os.path.abspath(path), known)).encode())
    return digest.hexdigest()[:16]


def content_digest(paths: Sequence[Path]) -> str:
    """What is in the files, wherever they lie."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
