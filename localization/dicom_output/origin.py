"""Derive the UIDs of results from what they come from: the same image, models and settings give
the same UIDs, in every run and on every machine. An archive that is sent them twice has them once.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

NAME = "cxrloc"


@dataclass(frozen=True)
class Origin:
    """What makes the results of an image, apart from the image.

    Attributes:
        models: name of a model -> its hash; also written into reports.
        settings: what else changes a result, such as new names of diseases. Empty values count as
            absent; the runtime need not be among them, a diagnosis knows its own.
    """

    models: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def uid(self, *parts: str) -> str:
        """Derive a UID for something that `parts` name, of this version of the program."""
        settings = {name: value for name, value in self.settings.items() if value}
        facts = [NAME, version(NAME), dict(self.models), settings, *parts]
        text = json.dumps(facts, sort_keys=True, default=str)
        return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, text).int}"  # PS3.5 B.2
