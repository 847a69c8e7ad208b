"""`flowgru export`: a network as one file for ONNX Runtime, OpenVINO or PyTorch, proved equal before it is kept."""

from flowgru.config.export import ExportSettings


def export(settings: ExportSettings) -> None:
    """Writes a network as one file for other programs: two pictures in, their flow out, with a fixed number of refinements.

    Inputs first and second are [1, 3, H, W], RGB in [0, 1], H and W multiples of 8 from 128 to --max-size; output flow is
    [1, 2, H, W] in pixels, u right and v down. What the file gives is compared with PyTorch on pictures of several sizes;
    it is kept where they differ by at most 0.001 px.
    """
    from flowgru.estimation.exporting import export_network  # imports torch, which --help does without

    export_network(settings)
