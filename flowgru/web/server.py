"""Serves the page until it is ended."""

import os
import tempfile
import time
from pathlib import Path

from flowgru.console import say
from flowgru.processes.ports import address_text, free_port, is_of_this_machine
from flowgru.web.settings import WebSettings

_ENVIRONMENT = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_SSR_MODE": "False"}
"""What gradio and huggingface_hub look at before they tell anybody anything."""

SPARE = 2**20
"""Bytes of a request beside the file that it brings; gradio itself says which file is too large, up to twice the limit."""


def serve(settings: WebSettings) -> int:
    """Serves the page until Ctrl-C, SIGTERM or SIGHUP, and removes what visitors gave and got.

    MachineError where nothing can listen at the address; RequestError and MachineError where a file of a model cannot be
    opened; ModuleNotFoundError where gradio is not installed.
    """
    port = free_port(settings.host, settings.port)
    with tempfile.TemporaryDirectory(prefix="flowgru-web-", ignore_cleanup_errors=True) as folder:
        # gradio reads these when it is imported.
        os.environ.update(_ENVIRONMENT, GRADIO_TEMP_DIR=str(Path(folder, "given")))
        for name in ("NO_PROXY", "no_proxy"):  # gradio asks its own server whether it is there
            os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost", settings.host]))
        import gradio as gr
        from starlette.middleware import Middleware  # gradio's server

        from flowgru.web.own_address import Limits, OwnAddressAlone, fetch_nothing
        from flowgru.web.visitors import Visitors

        max_bytes = int(settings.max_upload * 2**20)
        limits = Limits(settings.host if is_of_this_machine(settings.host) else None, 2 * max_bytes + SPARE)
        visitors = Visitors(Path(folder, "visitors"), settings)
        visitors.models.open_files()
        fetch_nothing()
        from flowgru.web.page import STYLE, Page

        Page(settings, visitors).blocks.launch(
            server_name=f"[{settings.host}]" if ":" in settings.host else settings.host,
            server_port=port,
            max_file_size=max_bytes,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            inbrowser=False,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            enable_monitoring=False,
            run_history=False,
            footer_links=[],
            app_kwargs={"middleware": [Middleware(OwnAddressAlone, limits=limits)]},
            # Fonts of the system: no page asks another address for anything.
            theme=gr.themes.Default(
                primary_hue="indigo", font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace")
            ),
            css=STYLE,
        )
        say(f"the page is at {address_text(settings.host, port)} (Ctrl-C ends it)")
        try:
            while True:
                time.sleep(3600)
        finally:
            visitors.end()  # the server is a thread that ends with the process
