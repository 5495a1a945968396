"""Make the virtual environment of the Makefile, or say in one sentence why it can't be made.

Runs under whatever `python3` is, so it keeps to what Python 3.6 understands.
"""

import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
VENV = Path(".venv")


def refusal():
    """The one sentence for a Python that can't make the environment, or None where it can."""
    version = "%d.%d" % sys.version_info[:2]  # noqa: UP031
    if sys.version_info < OLDEST:
        return (
            f"poseloop needs Python 3.11 or newer and {sys.executable} is {version}; name a newer one, for example: "
            "make PYTHON=python3.12 demo"
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return (
            f"This Python {version} can't make a virtual environment; on Debian or Ubuntu run "
            f"`sudo apt install python{version}-venv`, then the same make command again."
        )
    return None


def is_whole():
    """Whether there is an environment of its own, whose Python is new enough and whose pip starts."""
    python = VENV / "bin" / "python"
    if not python.exists():
        return False
    check = f"import sys, pip; sys.exit(sys.version_info < {OLDEST!r} or sys.prefix == sys.base_prefix)"
    return subprocess.run([str(python), "-c", check], stderr=subprocess.DEVNULL).returncode == 0


def main():
    """Make `.venv` in the current folder, unless a whole one is there."""
    if is_whole():
        return
    sentence = refusal()
    if sentence is not None:
        sys.exit(sentence)
    # --clear: what an earlier try left half-made would otherwise be taken as it is.
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], stdout=sys.stderr)
    if made.returncode != 0:
        sys.exit(f"No virtual environment could be made in {VENV.resolve()}; the reason stands above.")


if __name__ == "__main__":
    main()
