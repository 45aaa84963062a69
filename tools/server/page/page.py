"""The page in the browser: drop images, watch their progress, look at boxes and heat maps.

NiceGUI keeps the page and this file in step; viewer.js draws the image itself. Nothing is requested
from other servers.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from nicegui import app as pages
from nicegui import events, ui
from nicegui.elements.upload_files import FileUpload

from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.tools.server.http.problems import ProblemError
from cxrloc.tools.server.images.uploads import Upload
from cxrloc.tools.server.page.elements import download_links, findings, place_for_files, say, text
from cxrloc.tools.server.page.images import PageImage, PageImages, add_image_routes, keep
from cxrloc.tools.server.page.viewer import ImageViewer
from cxrloc.tools.server.service import Done, Service

_ASSETS = Path(__file__).parents[1] / "assets"
_STYLE = "\n".join((_ASSETS / name).read_text("utf-8") for name in ("page.css", "findings.css"))
_RETRY_SECONDS = 2
_ABSENT_SECONDS = 300  # a sleeping phone or a closed page: its images are held this long
_REJECTED = {
    "max-file-size": "is larger than {megabytes:g} MB",
    "duplicate": "is already in the list",
}


def add_page(app: FastAPI, service: Service) -> None:
    """Add the page at /page/, and redirect / to it."""
    images = PageImages()
    add_image_routes(app, service, images)

    @app.get("/", include_in_schema=False)
    async def to_page() -> RedirectResponse:
        return RedirectResponse("/page/")

    @ui.page("/", title="cxrloc: chest radiographs", language="en-US")
    def page() -> None:
        ImagePage(service, images)

    # its bar for requests has no name, which axe-core refuses; the page shows progress itself
    pages.config.quasar_config["loadingBar"] = {"skipHijack": True}
    ui.run_with(
        app,
        mount_path="/page",
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=_ABSENT_SECONDS,
    )


@dataclass
class Entry:
    """One line of the results list."""

    name: str
    button: ui.element
    state: ui.element
    key: str | None = None  # not the image: `PageImages` alone holds it, and lets the oldest go
    bad: bool = False


class ImagePage:
    """One open page and the images that were dropped on it."""

    def __init__(self, service: Service, images: PageImages) -> None:
        self.service, self.images = service, images
        self.entries: list[Entry] = []
        self.done = self.waiting = 0
        self.shown: Entry | None = None
        self.turn = asyncio.Lock()  # one image of a page at a time: others get their turn too
        ui.add_css(_STYLE)
        ui.context.client.on_delete(self.forget)
        self._head()
        with ui.element("div").classes("rooms"):  # NiceGUI's page is the main landmark
            with ui.element("section").classes("room list").props('aria-label="Images"'):
                self._list()
            self.look = ui.element("section").classes("room look").props('aria-label="Image"')
            self.facts = ui.element("section").classes("room facts")
        self.facts.props('aria-label="Findings"')
        self.viewer: ImageViewer | None = None
        self._show_nothing()

    def _head(self) -> None:
        with ui.element("header").classes("top"):
            with ui.element("div").classes("brand"):
                text("h1", "cxrloc")
                text("p", "chest radiographs, boxed twice")
            text("p", f"{RESEARCH_USE}.").classes("note").props("role=note")

    def _list(self) -> None:
        text("h2", "Images")
        place_for_files(self.service.limits.megabytes, self.received, self.rejected, self.failed)
        self.bar = (
            ui.element("progress").classes("bar").props('max=1 value=0 aria-label="Images done"')
        )
        self.bar.set_visibility(False)
        self.news = text("p", "").classes("news").props("role=status aria-live=polite")
        self.list = ui.element("ul").classes("entries")
        self.clear = ui.element("button").classes("plain").props("type=button")
        with self.clear:
            text("span", "Clear the list")
        self.clear.on("click", self.cleared)
        self.clear.set_visibility(False)

    async def received(self, event: events.UploadEventArguments) -> None:
        """Predict a received file when it is its turn, unless too many are already waiting."""
        entry, most = self._entry(event.file.name), self.service.limits.queue
        if self.waiting >= most:
            self._bad(entry, f"{most} images are already waiting; drop it again later")
            return
        self.waiting += 1  # not `entries`: an image of a cleared list is dropped at its turn
        try:
            await self._in_turn(entry, event.file)
        finally:
            self.waiting -= 1

    async def _in_turn(self, entry: Entry, file: FileUpload) -> None:
        async with self.turn:
            if entry not in self.entries:  # the list was cleared, or the page closed
                return
            say(entry.state, "predicting …")
            try:
                done = await self._predict(Upload(file.name, await file.read()))
            except Exception as error:  # shown on the page, whatever it is, and the others go on
                if entry in self.entries:
                    self._bad(entry, str(getattr(error, "detail", "server error")))
                raise
        if entry in self.entries:
            self._finish(entry, done)

    async def _predict(self, upload: Upload) -> Done:
        """While others fill the queue, a page waits."""
        while True:
            try:
                return (await self.service.predict([upload], keep))[0]
            except ProblemError as error:
                if error.status_code != 503:
                    return Done(upload, error=error)
            await asyncio.sleep(_RETRY_SECONDS)

    def rejected(self, event: events.GenericEventArguments) -> None:
        """The browser did not send some files."""
        for name, reason in event.args:
            why = _REJECTED.get(reason, "was not sent").format(
                megabytes=self.service.limits.megabytes
            )
            self._bad(self._entry(name), f"the file {why}")

    def failed(self, event: events.GenericEventArguments) -> None:
        """Sending some files failed."""
        for name in event.args:
            self._bad(self._entry(name), "could not be sent to the server; try again")

    def cleared(self) -> None:
        self.forget()
        self.done, self.shown = 0, None
        self.list.clear()
        self._show_nothing()
        self.clear.set_visibility(False)
        self.bar.set_visibility(False)
        say(self.news, "The list is empty.")

    def forget(self) -> None:
        """Drop this page's images from memory."""
        for entry in self.entries:
            if entry.key is not None:
                self.images.drop(entry.key)
        self.entries = []

    def _entry(self, name: str) -> Entry:
        with self.list, ui.element("li"):
            button = ui.element("button").classes("entry").props("type=button aria-disabled=true")
            with button:
                text("span", name).classes("name")
                state = text("span", "waiting").classes("state")
        entry = Entry(name, button, state)
        button.on("click", lambda: self.show(entry))
        self.entries.append(entry)
        self.clear.set_visibility(True)
        self._progress()
        return entry

    def _finish(self, entry: Entry, done: Done) -> None:
        if done.error is not None:
            self._bad(entry, str(done.error))
            return
        assert isinstance(done.view, PageImage)
        entry.key = done.view.key
        self.images.add(done.view)
        present = done.view.prediction.diagnosis.present
        outcome = ", ".join(d.replace("_", " ") for d in present) or "no disease passes the gate"
        if done.view.record["warnings"]:
            outcome += " (with a warning)"
        say(entry.state, outcome)
        entry.button.classes("present" if present else "absent").props(remove="aria-disabled")
        with entry.button:
            thumb = ui.element("img").props(f'src="/images/{done.view.key}/image.png" alt=""')
            thumb.classes("thumb").move(target_index=0)
        self.done += 1
        self._progress(f"{entry.name}: {outcome}.")
        if self.shown is None:
            self.show(entry)

    def _bad(self, entry: Entry, why: str) -> None:
        say(entry.state, why)
        entry.button.classes("bad")
        entry.bad = True
        self.done += 1
        self._progress(f"{entry.name}: {why}.")

    def _progress(self, event: str = "") -> None:
        total = len(self.entries)
        self.bar.set_visibility(True)
        self.bar.props(f"max={total} value={self.done}")
        bad = sum(entry.bad for entry in self.entries)
        ending = f", {bad} could not be predicted." if bad else "."
        say(self.news, f"{event} {self.done} of {total} images done{ending}".strip())

    def show(self, entry: Entry) -> None:
        """Show an image of the list."""
        if entry.key is None:
            return
        try:
            image = self.images.get(entry.key)
        except ProblemError as error:
            say(entry.state, str(error))
            return
        if self.shown is not None:
            self.shown.button.props(remove="aria-current")
        entry.button.props("aria-current=true")
        self.shown = entry
        self._show_image(image)
        self.facts.clear()
        with self.facts:
            findings(image)
            download_links(image, self.service.models.hashes)

    def _show_nothing(self) -> None:
        self.look.clear()
        self.facts.clear()
        self.viewer = None
        with self.look:
            ui.html((_ASSETS / "welcome.html").read_text("utf-8"), sanitize=False)

    def _show_image(self, image: PageImage) -> None:
        if self.viewer is None:
            self.look.clear()
            with self.look:
                self.title = text("h2", "")
                self.viewer = ImageViewer()
        say(self.title, image.record["images"][0]["file_name"])
        self.viewer.show(image)
