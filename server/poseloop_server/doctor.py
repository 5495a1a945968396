"""What `poseloop doctor` reports of the server: the providers that are here, and the bundled model's speed on each."""

from __future__ import annotations

import onnxruntime
from poseloop.errors import PoseloopError

from poseloop_server.bundled import arena_model_path
from poseloop_server.model import PoseModel
from poseloop_server.providers import PROVIDERS, present

ReportLine = tuple[str, str, bool | None, str]


def report() -> list[ReportLine]:
    """Return lines of name, what was found, whether it is right (None: neither), and what to do."""
    here = present()
    names = ", ".join(provider.name for provider in here)
    lines: list[ReportLine] = [("onnxruntime", f"{onnxruntime.__version__}, providers: {names}", True, "")]
    for provider in PROVIDERS.values():
        if provider not in here:
            remedy = f"needs {provider.needs} and `pip install {provider.package}`"
            lines.append((f"provider {provider.name}", "not here", None, remedy))
        else:
            lines.append(_timed(provider.name))
    return lines


def _timed(provider: str) -> ReportLine:
    try:
        model = PoseModel(arena_model_path(), provider=provider)
    except PoseloopError as error:
        # A wheel may bring a provider whose device this machine lacks; only the CPU has to work everywhere.
        ok = False if provider == "cpu" else None
        return (f"provider {provider}", "does not run the bundled model", ok, str(error))
    size = f"{model.spec.native_width}x{model.spec.native_height}"
    speed = f"{model.inference_ms:.1f} ms a frame, ready in {model.warm_up_ms:.0f} ms"
    return (f"provider {provider}", f"{model.device}: bundled model {size}, {speed}", True, "")
