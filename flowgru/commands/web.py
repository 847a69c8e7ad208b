"""`flowgru web`: a page for the browser that estimates flow."""

from flowgru.web.settings import WebSettings


def web(settings: WebSettings) -> int:
    """Serves a page for the browser: drop two pictures or a clip, or use the camera, and look at their flow.

    The page asks no other address for anything. What a visitor gives and gets lies in a temporary folder, which is removed
    when the page is closed. Ctrl-C ends it.
    """
    from flowgru.web.server import serve  # imports torch and gradio, which --help does without

    return serve(settings)
