"""`flowgru web`: a page for the browser that estimates flow."""

from flowgru.web.settings import WebSettings


def web(settings: WebSettings) -> int:
    """Serves a page for the browser: drop two pictures or a clip, or use the camera, and look at their flow.

    The page asks no other address for anything. What a visitor gets is removed when the page is closed, what is given within
    70 minutes, and everything when Ctrl-C ends the command.
    """
    from flowgru.web.server import serve  # imports torch and gradio, which --help does without

    return serve(settings)
