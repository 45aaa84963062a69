"""Parts that the page is made of: text, the place for files, findings, downloads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nicegui import events, ui

from cxrloc.tools.server.images.headers import ACCEPTED
from cxrloc.tools.server.images.report import rendered
from cxrloc.tools.server.page.images import PageImage, downloads


def text(tag: str, content: str) -> ui.element:
    """An element that holds nothing but text."""
    return say(ui.element(tag), content)


def say(element: ui.element, content: str) -> ui.element:
    element._text = content
    element.update()
    return element


def place_for_files(
    megabytes: float,
    received: Callable[[events.UploadEventArguments], Any],
    rejected: Callable[[events.GenericEventArguments], Any],
    failed: Callable[[events.GenericEventArguments], Any],
) -> None:
    """A button that opens the file chooser, and that files can be dropped on.

    Args:
        megabytes: largest size of one file.
        received: called for every file that arrives.
        rejected: for [name, reason] of files that the browser did not send.
        failed: for names of files that did not arrive.
    """
    upload = ui.upload(
        multiple=True, auto_upload=True, max_file_size=int(megabytes * 1e6), on_upload=received
    )
    upload.classes("drop").props('flat no-thumbnails role=group aria-label="Drop images here"')
    upload.on(
        "rejected",
        rejected,
        js_handler="(r) => emit(r.map((x) => [x.file.name, x.failedPropValidation]))",
    )
    upload.on("failed", failed, js_handler="(f) => emit(f.files.map((x) => x.name))")
    upload.on("uploaded", lambda: upload.run_method("removeUploadedFiles"))
    with upload.add_slot("header"):
        with ui.element("div").props("hidden"):  # it holds the file input, which has no name
            ui.element("q-uploader-add-trigger")
        pick = ui.element("button").classes("pick").props("type=button")
        pick.on("click", js_handler=f"(e) => getElement({upload.id}).$refs.qRef.pickFiles(e)")
        with pick:
            text("span", "Choose or drop images").classes("strong")
            text("span", f"{ACCEPTED}, up to {megabytes:g} MB each").classes("faint")
    with upload.add_slot("list"):
        pass


def findings(image: PageImage) -> None:
    """The message, warnings and tables of an image."""
    text("h2", "Findings")
    text("p", image.record["message"])
    for warning in image.record["warnings"]:
        text("p", warning).classes("warning")
    # the templates escape their values
    ui.html(rendered("findings_table.html.j2", image.record), sanitize=False)
    if image.record["annotations"]:
        with ui.element("details"):
            text("summary", "Strongest boxes")
            ui.html(rendered("boxes_table.html.j2", image.record), sanitize=False)


def download_links(image: PageImage, models: Mapping[str, str]) -> None:
    """A link for each file that can be downloaded for an image."""
    text("h2", "Downloads")
    with ui.element("ul").classes("downloads"):
        for ending, (name, *_) in downloads(image, models).items():
            with ui.element("li"):
                link = text("a", name)
                link.props(f'href="/images/{image.key}/download/{ending}" download')
