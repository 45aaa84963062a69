"""Keep detectron2's checkpoints free of pickled code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from cxrloc.datasets.files.atomic import write_text


def tensors_only_checkpointer(network: nn.Module, out_dir: Path, **state: Any) -> Any:
    """detectron2's checkpointer, restricted to tensors and plain values, with atomic tags."""
    from detectron2.checkpoint import Checkpointer

    checkpointer = Checkpointer(network, str(out_dir), **state)

    def read(path: str) -> dict[str, Any]:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return content

    def tag(name: str) -> None:
        write_text(out_dir / "last_checkpoint", name)

    checkpointer._load_file, checkpointer.tag_last_checkpoint = read, tag
    return checkpointer
