"""The page: what is dropped on it, how it is estimated, and how its flow is looked at and taken home."""

import threading
from collections.abc import Iterator
from typing import Any

import gradio as gr

from flowgru.errors import FlowgruError, counted, size_text
from flowgru.web.downloads import KINDS
from flowgru.web.looking import FORWARD, Look, kinds_of, motion_at, pictures_of
from flowgru.web.settings import WebSettings
from flowgru.web.visitors import Visitors, error_line
from flowgru.web.work import MOST_REFINEMENTS, Counted, EstimatedClip, Wishes

AS_THE_MODEL_SAYS = "as the model says"
SIZES = {"the frames' own": None, "three quarters": "0.75", "half": "0.5", "a quarter": "0.25"}
POLISH = {AS_THE_MODEL_SAYS: None, "yes": True, "no": False}
STARTS = {AS_THE_MODEL_SAYS: None, "the flow of OpenCV's DIS": "dis", "zero": "zero"}
CLICK = "Click into a picture: here stands where that pixel goes."
PROGRESS = gr.Progress()
"""As a default, it tells gradio to hand the bar of a visitor over."""
SECONDS_BETWEEN_SWEEPS, SECONDS_KEPT = 600, 3600
"""How often files that were given or shown are looked through, and how old they become."""
DRAWN_AT_ONCE = 4
"""Visitors whose pictures are drawn at a time."""

STYLE = """
footer { display: none !important }
.gradio-container { width: 100% !important; max-width: 90rem !important; margin: auto }
#status textarea, #motion textarea { font-variant-numeric: tabular-nums }
#status.failed textarea { color: #b3261e }
/* Trimming would have the browser load FFmpeg from another address. */
#clip button[aria-label="Trim video to selection"] { display: none }
"""


def picture_file(**options: Any) -> gr.Image:
    """A picture that comes as the file that was given: this project reads more kinds, and names what is wrong with one.

    Not a class of its own: gradio writes a .pyi beside each file that has one.
    """
    picture = gr.Image(type="filepath", webcam_options=camera(), **options)
    usual = picture.preprocess
    picture.preprocess = lambda payload: payload.path if payload is not None and payload.path else usual(payload)
    return picture


def camera() -> gr.WebcamOptions:
    """A camera as it sees, not as a mirror, and no larger than what is computed in reasonable time."""
    return gr.WebcamOptions(mirror=False, constraints={"video": {"width": {"ideal": 1280}, "height": {"ideal": 720}}})


class Page:
    """The parts of the page that its events read and write."""

    def __init__(self, settings: WebSettings, visitors: Visitors) -> None:
        self._settings, self._visitors = settings, visitors
        self._drawing = threading.Semaphore(DRAWN_AT_ONCE)
        with gr.Blocks(
            title="flowgru",
            analytics_enabled=False,
            fill_width=True,
            delete_cache=(SECONDS_BETWEEN_SWEEPS, SECONDS_KEPT),
        ) as self.blocks:
            self._clip = gr.State(None)
            self._place = gr.State(None)  # of the pixel whose motion is told
            gr.Markdown("# flowgru\nWhere does every pixel of a picture go? Give two pictures or a clip, and look.")
            with gr.Row():
                with gr.Column(scale=2, min_width=320):
                    pair, clip = self._lay_out_inputs()
                    self._wishes = self._lay_out_wishes()
                with gr.Column(scale=5, min_width=320):
                    self._status = gr.Textbox(
                        "Nothing was estimated yet.", label="State", interactive=False, elem_id="status", lines=2
                    )
                    with gr.Column(visible=False) as self._results:
                        self._lay_out_results()
            self._connect(pair, clip)
        self.blocks.queue(max_size=settings.max_waiting)

    def _lay_out_inputs(self) -> tuple[tuple[Any, list[Any]], tuple[Any, list[Any]]]:
        """For two pictures and for a clip, the button and what it reads."""
        with gr.Tab("Two pictures"):
            with gr.Row():
                pictures = [
                    picture_file(label=name, height=200, min_width=140, elem_id=name.lower())
                    for name in ("First", "Second")
                ]
            pair = gr.Button("Estimate the flow", variant="primary", elem_id="estimate-pair")
        with gr.Tab("A clip"):
            clip = gr.Video(
                label=f"Clip: its first {self._settings.max_frames} frames are used",
                height=300,
                webcam_options=camera(),
                elem_id="clip",
            )
            several = gr.Button("Estimate the flow", variant="primary", elem_id="estimate-clip")
        return (pair, list(pictures)), (several, [clip])

    def _lay_out_wishes(self) -> list[Any]:
        models = self._visitors.models.names
        self._stop = gr.Button("Stop", elem_id="stop")
        with gr.Accordion("Settings", open=False):
            backward = gr.Checkbox(label="Backward flow and occlusion too", elem_id="backward")
            size = gr.Dropdown([*SIZES], value=next(iter(SIZES)), label="Compute at a size of", elem_id="size")
            model = gr.Dropdown(models, value=models[0], label="Model", elem_id="model")
            iterations = gr.Slider(
                0, MOST_REFINEMENTS, value=0, step=1, label="Refinements; 0 is as the model says", elem_id="iterations"
            )
            start = gr.Dropdown([*STARTS], value=AS_THE_MODEL_SAYS, label="Refinement begins at", elem_id="start")
            polish = gr.Dropdown(
                [*POLISH], value=AS_THE_MODEL_SAYS, label="Polish the flow by variation", elem_id="polish"
            )
        return [model, iterations, start, polish, size, backward]

    def _lay_out_results(self) -> None:
        picture: dict[str, Any] = {"format": "png", "interactive": False, "show_label": False, "min_width": 260}
        self._number = gr.Slider(1, 2, value=1, step=1, label="Pair", elem_id="number")
        self._what = gr.Radio([FORWARD], value=FORWARD, label="Beside the frame", elem_id="what")
        with gr.Row():
            self._left = gr.Image(label="Frame", elem_id="frame", buttons=["fullscreen"], **picture)
            self._right = gr.Image(label="Flow", elem_id="flow", buttons=["download", "fullscreen"], **picture)
        self._motion = gr.Textbox(CLICK, label="Motion", interactive=False, elem_id="motion", lines=3)
        with gr.Row():
            self._arrows = gr.Checkbox(label="Arrows over the frame", elem_id="arrows")
            self._max_flow = gr.Number(
                0, label="Full colour at, in pixels; 0 is one scale that suits all", elem_id="max-flow"
            )
        self._kind = gr.Radio(
            [(text, kind) for kind, text in KINDS.items()], value="flo", label="Take home", elem_id="kind"
        )
        self._make = gr.Button("Make the file", elem_id="make")
        self._file = gr.File(label="The file", interactive=False, elem_id="file", visible=False)

    def _connect(self, pair: tuple[Any, list[Any]], clip: tuple[Any, list[Any]]) -> None:
        look = [self._clip, self._number, self._what, self._arrows, self._max_flow]
        # Who looks at a result does not wait in the queue of those who want one estimated.
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
        run: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "estimation", "api_visibility": "private"}
        shown = [self._status, self._clip, self._results, *look[1:3], self._left, self._right, self._place]
        shown += [self._motion, self._file]
        given = [self._arrows, self._max_flow, *self._wishes]
        runs = [
            button.click(estimate, [*inputs, *given], shown, show_progress_on=self._status, **run)
            for (button, inputs), estimate in ((pair, self._estimate_pair), (clip, self._estimate_clip))
        ]
        self._stop.click(lambda: "Stopped.", None, self._status, cancels=runs, **quiet)
        gr.on(
            [part.change for part in (self._number, self._what, self._arrows, self._max_flow)],
            self._look,
            [self._place, *look],
            [self._left, self._right, self._motion, self._status],
            trigger_mode="always_last",
            **quiet,
        )
        for picture in (self._left, self._right):
            picture.select(self._point, look, [self._place, self._motion], **quiet)
        self._make.click(self._make_file, [self._kind, *look], [self._file, self._status], api_visibility="private")
        self.blocks.unload(self._leave)

    def _estimate_pair(
        self,
        request: gr.Request,
        progress=PROGRESS,
        first: Any = None,
        second: Any = None,
        *wishes: Any,
    ) -> Iterator[dict[Any, Any]]:
        yield from self._estimate(request, progress, [first, second], *wishes)

    def _estimate_clip(
        self,
        request: gr.Request,
        progress=PROGRESS,
        clip: Any = None,
        *wishes: Any,
    ) -> Iterator[dict[Any, Any]]:
        yield from self._estimate(request, progress, [clip], *wishes)

    def _estimate(self, request: gr.Request, progress: Any, inputs: list[Any], *given: Any) -> Iterator[dict[Any, Any]]:
        """Counts while the flow is estimated, and at last shows it, or the line of an error."""
        arrows, max_flow, model, iterations, start, polish, size, backward = given
        wishes = Wishes(model, int(iterations) or None, STARTS[start], POLISH[polish], SIZES[size], backward)
        yield {self._results: gr.Column(visible=False), self._clip: None, **self._say("Opening the model.")}
        for step in self._visitors.estimate(str(request.session_hash), inputs, wishes):
            if isinstance(step, Counted):
                progress((step.done, step.total), unit="pairs")
                of = "" if step.total is None else f" of {step.total}"
                yield self._say(f"{step.done}{of} done.")
            elif isinstance(step, EstimatedClip):
                yield self._shown(step, _as_look(step, 1, FORWARD, arrows, max_flow))
            else:
                yield self._say(step, failed=True)

    def _say(self, text: str, *, failed: bool = False) -> dict[Any, Any]:
        return {self._status: gr.Textbox(text, elem_classes=["failed"] if failed else [])}

    def _shown(self, clip: EstimatedClip, look: Look) -> dict[Any, Any]:
        num, kinds = len(clip.pairs), kinds_of(clip)
        left, right = pictures_of(clip, look)
        text = f"{counted(num, 'flow')} of {size_text(left.shape)}; full colour at {clip.scale:g} px."
        return {
            **self._say("\n".join([text, *clip.notes])),
            self._clip: clip,
            self._results: gr.Column(visible=True),
            self._number: gr.Slider(maximum=max(num, 2), value=1, visible=num > 1, label=f"Pair, of {num}"),
            self._what: gr.Radio(kinds, value=FORWARD, visible=len(kinds) > 1),
            self._left: left,
            self._right: right,
            self._place: None,
            self._motion: CLICK,
            self._file: gr.File(value=None, visible=False),
        }

    def _look(self, place: Any, clip: EstimatedClip | None, *how: Any) -> tuple[Any, ...]:
        if clip is None:
            return 4 * (gr.skip(),)
        try:
            look = _as_look(clip, *how)
            with self._drawing:
                shown = pictures_of(clip, look)
            return *shown, CLICK if place is None else motion_at(clip, look, *place), gr.skip()
        except (FlowgruError, OSError) as error:
            return *3 * (gr.skip(),), error_line(error, [clip.folder])

    def _point(self, event: gr.SelectData, clip: EstimatedClip | None, *how: Any) -> tuple[Any, str]:
        if clip is None:
            return None, CLICK
        x, y = place = [int(part) for part in event.index]
        try:
            return place, motion_at(clip, _as_look(clip, *how), x, y)
        except (FlowgruError, OSError) as error:
            return place, error_line(error, [clip.folder])

    def _make_file(
        self, request: gr.Request, kind: str = "", clip: EstimatedClip | None = None, *how: Any
    ) -> tuple[Any, Any]:
        if clip is None:
            return gr.skip(), "Nothing was estimated yet."
        try:
            path = self._visitors.make(str(request.session_hash), clip, kind, _as_look(clip, *how))
            return gr.File(str(path), visible=True), gr.skip()
        except (FlowgruError, OSError) as error:
            return gr.skip(), error_line(error, [clip.folder])

    def _leave(self, request: gr.Request) -> None:
        self._visitors.leave(str(request.session_hash))


def _as_look(clip: EstimatedClip, number: Any, what: Any, arrows: Any, max_flow: Any) -> Look:
    """What the parts of the page say, where it makes sense for this clip; else as it was when the clip came."""
    kinds = kinds_of(clip)
    return Look(
        min(max(int(number or 1), 1), len(clip.pairs)),
        what if what in kinds else FORWARD,
        bool(arrows),
        float(max_flow) if max_flow and 0 < max_flow < 1e6 else None,
    )
