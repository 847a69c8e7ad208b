"""Pictures of flow: the colour wheel and its legend, arrows, error maps and the panels of a video.

Pictures are uint8 [H, W, 3] RGB and flow is [H, W, 2] in pixels (u right, v down); nothing here writes files.
"""
