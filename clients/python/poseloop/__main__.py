"""Where the program starts: a Ctrl-C while Python still imports the rest is no fault either."""

import sys


def main() -> None:
    """Run `poseloop.cli.main`, also as ``python -m poseloop``."""
    try:
        from poseloop.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
