"""Figures for Prometheus at /metrics; each app has a registry of its own."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120)


class Metrics:
    """Counters of requests and images, times, and the images that wait."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        here = self.registry
        self.requests = Counter(
            "cxrloc_requests", "HTTP requests", ["route", "status"], registry=here
        )
        self.request_seconds = Histogram(
            "cxrloc_request_seconds",
            "Time of a request",
            ["route"],
            buckets=SECONDS,
            registry=here,
        )
        self.images = Counter(
            "cxrloc_images", "Images by the HTTP status of each", ["status"], registry=here
        )
        self.image_seconds = Histogram(
            "cxrloc_image_seconds", "Time of an image", ["stage"], buckets=SECONDS, registry=here
        )
        self.waiting = Gauge(
            "cxrloc_images_waiting", "Images in the queue, the running one included", registry=here
        )


class MeasuredApp:
    """Counts and times what passes through; routes are named by their templates."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, began = 500, time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            route = route_template(scope)
            self.metrics.requests.labels(route, status).inc()
            self.metrics.request_seconds.labels(route).observe(time.perf_counter() - began)


def route_template(scope: Scope) -> str:
    """A request's path as its route is written: the path itself may hold an image's secret key."""
    return getattr(scope.get("route"), "path", None) or "other"
