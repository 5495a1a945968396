"""Files that say which frames are meant: a JSON list of integers, or one integer a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from poseloop.errors import InvalidInputError

# In a run folder, the frames that the run held out.
TEST_FRAMES = "test_frames.json"
FORM = "a JSON list of frame numbers such as [0, 4, 7], or one number a line"


def read_indices(file: Path, count: int) -> tuple[int, ...]:
    """Return the indices in a file, in its order.

    Args:
        file: the file.
        count: the number of frames that there are; indices lie in 0 ... count - 1.

    Raises:
        InvalidInputError: the file is missing or of another form, or an index is out of range or stands twice.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InvalidInputError(f"{file} does not exist; give {FORM}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{file} can't be read as text ({error}); give {FORM}.") from None
    values = _values(text, file)
    if not values:
        raise InvalidInputError(f"{file} names no frame; give {FORM}.")
    seen: set[int] = set()
    for value in values:
        if not 0 <= value < count:
            raise InvalidInputError(
                f"{file}: there is no frame {value}; the dataset has {count} frames, 0 to {count - 1}."
            )
        if value in seen:
            raise InvalidInputError(f"{file}: frame {value} stands twice; give each frame once.")
        seen.add(value)
    return tuple(values)


def refuse_other_rows(file: Path, rows_sha256: str) -> None:
    """Refuse a run's test_frames.json beside labels whose rows stand in another order: it would mean other frames.

    Args:
        file: of any name; only that of a run folder is compared.
        rows_sha256: of the labels, as `PoseDataset.rows_sha256` gives it.

    Raises:
        InvalidInputError: the run was trained on other rows.
    """
    try:
        trained_on = json.loads(file.with_name("settings.json").read_text(encoding="utf-8"))["rows_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if file.name == TEST_FRAMES and trained_on != rows_sha256:
        raise InvalidInputError(
            f"{file} numbers the frames of other labels than these, or of the same in another order, so it may name "
            "frames that the run was trained on; give the labels of the run, or a file of your own."
        )


def write_indices(file: Path, indices: tuple[int, ...]) -> None:
    """Write indices as a JSON list, which `read_indices` reads."""
    file.write_text(json.dumps(list(indices)) + "\n", encoding="utf-8")


def _values(text: str, file: Path) -> list[int]:
    if text.lstrip().startswith(("[", "{")):
        try:
            content: Any = json.loads(text)
        except json.JSONDecodeError as error:
            raise InvalidInputError(f"{file} is not valid JSON ({error}); give {FORM}.") from None
        # True and False are integers to Python, and no frame numbers.
        if not isinstance(content, list) or any(type(value) is not int for value in content):
            raise InvalidInputError(f"{file} is not a list of whole numbers; give {FORM}.")
        return content
    values = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            values.append(int(line))
        except ValueError:
            raise InvalidInputError(
                f"{file}, line {number}: {line.strip()!r} is no whole number; give {FORM}."
            ) from None
    return values
