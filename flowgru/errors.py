"""The three ways a user's run can fail, each with its exit code.

An error text is one line: what was got, what was expected, how to fix it. The command line prints `error: <text>` and
exits with the class's code; a traceback is shown only with --debug.
"""

NO_MEMORY = ("allocate memory", "bad_alloc", "out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED")
"""Words by which PyTorch, CUDA and its libraries say that memory could not be had, where no class of an error says it."""


class FlowgruError(Exception):
    """Base of every error a user can cause or meet; anything else that escapes is a bug (exit code 1)."""

    exit_code = 1


class RequestError(FlowgruError, ValueError):
    """The request, a setting or a checkpoint does not make sense."""

    exit_code = 2


class InputFileError(FlowgruError, ValueError):
    """An input file is missing, damaged or of a kind that cannot be read."""

    exit_code = 3


class MachineError(FlowgruError, RuntimeError):
    """The machine refuses: disk, permission, memory or device."""

    exit_code = 4
