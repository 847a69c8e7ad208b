"""Which kind of graph PyTorch is tracing."""

import torch


def is_exporting() -> bool:
    """Whether a graph is traced for torch.export, and not for torch.compile.

    torch.compiler.is_exporting says the same outside a graph, but inside one that torch.compile traces, PyTorch 2.11's
    is always true. Both read this flag.
    """
    return torch.compiler._is_exporting_flag
