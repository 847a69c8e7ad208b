"""Models on the Hugging Face Hub: weights are taken from a repository, and given to one with their card.

The library retries an unreachable Hub for half a minute; here it is asked once, for so long as one waits for an answer.
"""

import queue
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flowgru.console import warn
from flowgru.errors import MachineError, RequestError, first_line
from flowgru.model.weight_files.model_file import WEIGHTS

SECONDS_TO_ANSWER = 2.5
"""For which the Hub is waited for; what is stored on this machine is used where it does not answer."""

README = "README.md"
"""The card that the Hub shows of a repository."""

_ADDRESS = re.compile(r"hf:/{1,2}([^/@\s]+/[^/@\s]+)(?:@(\S+))?")  # a pathlib.Path has one slash


def is_hub_address(source: str) -> bool:
    """Whether a model is named as one on the Hub: hf://owner/name, or hf://owner/name@revision."""
    return source.startswith("hf:/")


def downloaded(path: str) -> Path:
    """The file of weights of a repository on the Hub, downloaded once for each of its revisions.

    RequestError where the address names no repository that may be read, or one without weights, and where the package that
    asks the Hub is not installed; MachineError where the Hub cannot be reached and nothing is stored here.
    """
    address = path if path.startswith("hf://") else path.replace("hf:/", "hf://", 1)
    if not (found := _ADDRESS.fullmatch(path)):
        raise RequestError(
            f"{address} names no repository of the Hub: expected hf://owner/name or hf://owner/name@revision"
        )
    repository, revision = found[1], found[2]
    hub = _library(address)
    errors = hub.errors
    api = hub.HfApi()
    try:
        _answer(lambda: api.model_info(repository, revision=revision, timeout=SECONDS_TO_ANSWER))
    except errors.HFValidationError as error:
        raise RequestError(f"{address} names no repository of the Hub ({first_line(error, 120)})") from None
    except errors.RevisionNotFoundError:
        raise RequestError(
            f"{repository} on the Hub has no revision {revision}: name a branch, a tag or a commit"
        ) from None
    except errors.RepositoryNotFoundError:
        raise RequestError(
            f"the Hub has no model {repository} that may be read here: correct the name, or log in with `hf auth login`"
        ) from None
    except Exception as error:  # each library beneath has kinds of its own for a network that is not there
        stored = hub.try_to_load_from_cache(repository, WEIGHTS, revision=revision)
        if isinstance(stored, str):
            warn(f"the Hub does not answer: using {repository} as it was stored on this machine")
            return Path(stored)
        raise MachineError(
            f"the Hub cannot be asked for {repository} ({first_line(error, 120)}), and it is not stored on this machine: "
            "connect to the net, or name a file"
        ) from None
    try:
        return Path(api.hf_hub_download(repository, WEIGHTS, revision=revision))
    except errors.RemoteEntryNotFoundError:
        raise RequestError(f"{repository} on the Hub has no {WEIGHTS}: it is no model of flowgru") from None
    except Exception as error:
        raise MachineError(
            f"the weights of {repository} could not be downloaded ({first_line(error, 120)}): try again"
        ) from None


def upload(repository: str, files: Mapping[str, bytes], *, private: bool) -> str:
    """Puts files into a repository on the Hub as one commit, and makes the repository where there is none; its address.

    RequestError for a name that none can have and without the package; MachineError where the Hub refuses or does not
    answer.
    """
    hub = _library("push_model")
    api = hub.HfApi()
    try:
        _answer(lambda: api.create_repo(repository, private=private, exist_ok=True))
        operations = [hub.CommitOperationAdd(name, content) for name, content in files.items()]
        api.create_commit(repository, operations, commit_message="Upload a model of flowgru")
    except hub.errors.HFValidationError as error:
        raise RequestError(f"{repository!r} can name no repository of the Hub ({first_line(error, 120)})") from None
    except Exception as error:
        raise MachineError(
            f"the Hub does not take {repository} ({first_line(error, 120)}): connect to the net, and log in with "
            "`hf auth login`"
        ) from None
    return f"hf://{repository}"


def _library(needed_for: str) -> Any:
    try:
        import huggingface_hub.errors  # by its own name: the package gives it only once something else has imported it
    except ModuleNotFoundError:
        raise RequestError(f"{needed_for} needs the package huggingface_hub: pip install 'flowgru[hub]'") from None
    return huggingface_hub


def _answer(ask: Callable[[], Any]) -> Any:
    """What the Hub answers in time. TimeoutError where it does not: a library's own limit spares the search of its name."""
    answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((ask(), None))
        except BaseException as error:  # raised again by whoever waits
            answers.put((None, error))

    threading.Thread(target=run, name="hub", daemon=True).start()
    try:
        answer, error = answers.get(timeout=SECONDS_TO_ANSWER)
    except queue.Empty:
        raise TimeoutError(f"no answer within {SECONDS_TO_ANSWER:g} s") from None
    if error is not None:
        raise error
    return answer
