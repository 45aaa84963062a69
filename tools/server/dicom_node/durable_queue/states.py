"""The states of an image and of a delivery."""

from __future__ import annotations

RECEIVED, PREDICTED, SENT, FAILED = "received", "predicted", "sent", "failed"
WAITING = (RECEIVED, PREDICTED)
STATES = (RECEIVED, PREDICTED, SENT, FAILED)
PENDING = "waiting"  # a delivery's; it ends as sent or failed
