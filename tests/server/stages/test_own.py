from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from poseloop.errors import InvalidInputError
from poseloop_server.stages.deeplabcut_live import DeepLabCutLiveConfig, DeepLabCutLiveStage
from poseloop_server.stages.own import OwnStage, PythonConfig
from poseloop_server.stages.user_code import StageFailedError

from tests.server.stages.user_files import context, pose, write

SHIFT = """
class Shift:
    def __init__(self, by=0.0):
        self.by = by
        self.seen = 0

    def process(self, pose):
        self.seen += 1
        pose.keypoints[..., 0] += self.by
        pose.values["seen"] = self.seen
        pose.values["snout_x"] = pose["snout"].x
        return pose
"""


def stage(folder: Path, name: str = "Shift", file: str = "mine.py", **options: Any) -> OwnStage:
    return OwnStage(PythonConfig.model_validate({"file": file, "class": name, "options": options}), context(folder))


def test_a_class_of_the_users_changes_poses_and_adds_values(tmp_path: Path) -> None:
    path = write(tmp_path, "mine.py", SHIFT)
    own = stage(tmp_path, by=2.5)
    given = pose()
    after = own.process(given)
    assert after["snout"].x == 12.5
    assert after.values == {"seen": 1.0, "snout_x": 12.5}
    assert all(type(value) is float for value in after.values.values())
    assert [(source.path, source.sha256) for source in own.sources] == [
        (path, hashlib.sha256(path.read_bytes()).hexdigest())
    ]


def test_a_class_without_reset_is_made_anew_and_one_with_it_is_asked(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", SHIFT)
    own = stage(tmp_path)
    assert [own.process(pose(number)).values["seen"] for number in range(3)] == [1, 2, 3]
    own.reset()
    assert own.process(pose()).values["seen"] == 1
    write(tmp_path, "asked.py", SHIFT + "\n    def reset(self):\n        self.seen = 100\n")
    asked = stage(tmp_path, file="asked.py")
    asked.reset()
    assert asked.process(pose()).values["seen"] == 101


HOLDS_A_PORT = """
held = []

class Holds:
    made = 0

    def __init__(self):
        if held:
            raise OSError("the port is busy")
        held.append(self.__class__)
        Holds.made += 1

    def __del__(self):
        held.clear()

    def process(self, pose):
        pose.values["made"] = self.made
        return pose
"""


@pytest.mark.parametrize("kind", ["python", "deeplabcut_live"])
def test_what_holds_a_port_lets_go_of_it_before_it_is_made_anew(tmp_path: Path, kind: str) -> None:
    write(tmp_path, "mine.py", HOLDS_A_PORT)
    keys = {"file": "mine.py", "class": "Holds"}
    if kind == "python":
        holds: OwnStage | DeepLabCutLiveStage = OwnStage(PythonConfig.model_validate(keys), context(tmp_path))
    else:
        write(tmp_path, "mine.py", HOLDS_A_PORT.replace('pose.values["made"]', "pose[0]"))
        holds = DeepLabCutLiveStage(DeepLabCutLiveConfig.model_validate(keys), context(tmp_path))

    def made() -> float:
        after = holds.process(pose())
        return after.values.get("made", after["snout"].x)

    holds.reset()  # a stream begins with it; nothing has been seen that could be forgotten
    assert made() == 1
    holds.reset()
    assert made() == 2


def test_files_of_one_name_and_their_neighbours_do_not_clash(tmp_path: Path) -> None:
    modules, path_before = set(sys.modules), list(sys.path)
    for folder, value in (("a", 1), ("b", 2)):
        write(tmp_path, f"{folder}/helper.py", f"VALUE = {value}")
        write(tmp_path, f"{folder}/tools/__init__.py", "")
        write(tmp_path, f"{folder}/tools/deep.py", f"import helper\nVALUE = 10 * helper.VALUE + {value}")
        write(
            tmp_path,
            f"{folder}/mine.py",
            """
            import dataclasses
            import helper
            import tools.deep
            from . import helper as same
            from tools import deep

            @dataclasses.dataclass
            class Mine:
                factor: "float" = 1.0

                def process(self, pose):
                    from helper import VALUE  # later, when other files were loaded since
                    assert same is helper and tools.deep is deep
                    pose.values["now"] = VALUE * self.factor
                    pose.values["deep"] = deep.VALUE
                    return pose
            """,
        )
    first, second = stage(tmp_path / "a", "Mine"), stage(tmp_path / "b", "Mine")
    assert first.process(pose()).values == {"now": 1.0, "deep": 11.0}
    assert second.process(pose()).values == {"now": 2.0, "deep": 22.0}
    assert [source.path.name for source in first.sources] == ["mine.py", "helper.py", "__init__.py", "deep.py"]
    assert sys.path == path_before
    assert all(name.startswith("poseloop_user_") for name in set(sys.modules) - modules)
    assert not list(tmp_path.rglob("__pycache__"))


def test_an_edited_file_is_loaded_as_it_is_now(tmp_path: Path) -> None:
    for value in (1, 2, 3):
        write(tmp_path, "mine.py", f"class Mine:\n    def process(self, pose):\n        pose.values['v'] = {value}\n"
              "        return pose\n")  # fmt: skip
        assert stage(tmp_path, "Mine").process(pose()).values == {"v": value}


MISTAKES = [
    ("nothing.py", "", "Mine", {}, r"there is no file .*nothing\.py; a relative path starts from"),
    ("mime.py", "", "Mine", {}, r"there is no file .*mime\.py; did you mean mine\.py\?"),
    ("mine.py", "x = 1\nclass Mine\n    pass\n", "Mine", {}, r"mine\.py, line 2: expected ':' in 'class Mine'"),
    ("mine.py", "x = '\0'", "Mine", {}, r"mine\.py.*null bytes"),
    ("mine.py", "import numpy\nimport no_such_thing\n", "Mine", {},
     r"mine\.py, line 2: there is no module 'no_such_thing'; install it"),
    ("mine.py", "import helper\n", "Mine", {}, r"helper\.py, line 2: ValueError: a bad day; correct it"),
    ("mine.py", "import sys\nsys.exit(3)\n", "Mine", {}, r"mine\.py, line 2: SystemExit: 3"),
    ("mine.py", "open('/no/such/file')\n", "Mine", {}, r"mine\.py, line 1: FileNotFoundError"),
    ("mine.py", "class Mime:\n    pass\n", "Mine", {}, r"mine\.py has no class 'Mine'; did you mean Mime\?"),
    ("mine.py", "x = 1\n", "Mine", {}, r"mine\.py has no class 'Mine', nor any other; write class Mine"),
    ("mine.py", "def Mine(): pass\n", "Mine", {}, r"Mine is a function, not a class"),
    ("mine.py", "class Mine:\n    pass\n", "Mine", {},
     r"mine\.py, line 1: the class Mine has no method process; write def process\(self, pose\)"),
    ("mine.py", "class Mine:\n    def process(self):\n        pass\n", "Mine", {},
     r"mine\.py, line 2: Mine\.process must take one argument beside self"),
    ("mine.py", "class Mine:\n    def process(self, pose):\n        pass\n", "Mine", {"by": 1},
     r"Mine takes no option 'by'; it takes none"),
    ("mine.py", SHIFT, "Shift", {"bye": 1}, r"mine\.py, line 3: Shift takes no option 'bye'; did you mean by\?"),
    ("mine.py", "class Mine:\n    def __init__(self, radius, *, x):\n        pass\n", "Mine", {"x": 1},
     r"mine\.py, line 2: Mine needs radius; write it in the configuration, under its options"),
    ("mine.py", "class Mine:\n    def __init__(self, x):\n        raise ValueError('x is\\nodd')\n", "Mine", {"x": 1},
     r"mine\.py, line 3: ValueError: x is odd, when Mine was made; correct it, or the options"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "text", "name", "options", "said"), MISTAKES)
def test_a_mistake_is_one_sentence_with_its_line(
    tmp_path: Path, file: str, text: str, name: str, options: dict[str, object], said: str
) -> None:
    (tmp_path / "mine.py").write_text(text)
    write(tmp_path, "helper.py", "x = 1\nraise ValueError('a bad day')")
    with pytest.raises(InvalidInputError, match=said) as raised:
        stage(tmp_path, name, file, **options)
    assert "\n" not in str(raised.value)


FAILURES = [
    ("pose.keypoints[0, 0] = 7; pose.values['a'] = 1; pose.doubts.append('x'); pose.time_ns += 1; 1 / 0",
     r"mine\.py, line 4: ZeroDivisionError: division by zero$"),
    ("raise SystemExit", r"mine\.py, line 4: SystemExit$"),
    ("import numpy; numpy.linalg.inv(numpy.zeros((2, 2)))", r"mine\.py, line 4: LinAlgError: Singular matrix$"),
    ("pose.keypoints *= 2", r"Mine\.process returned nothing; it must end with return pose$"),
    ("return 3", r"Mine\.process returned a int; it must end with return pose$"),
    ("pose.keypoints = pose.keypoints[:, :1]; return pose", r"of the shape \(1, 1, 3\); they must stay"),
    ("pose.keypoints = pose.keypoints.astype(str); return pose", "keypoints that are no numbers"),
    ("pose.values['a'] = 'b'; return pose", r"put a str into pose\.values\['a'\]; it must be a number"),
    ("return pose['nose']", r"line 4: KeyError: .*no keypoint 'nose'"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "said"), FAILURES)
def test_a_failure_is_one_line_and_leaves_the_pose_as_it_was(tmp_path: Path, body: str, said: str) -> None:
    write(tmp_path, "mine.py", f"class Mine:\n    def process(self, pose):\n        # comment\n        {body}\n")
    own = stage(tmp_path, "Mine")
    given = pose()
    given.values["before"] = 5.0
    with pytest.raises(StageFailedError, match=said):
        own.process(given)
    assert np.array_equal(given.keypoints, pose().keypoints)
    assert (given.values, given.doubts, given.time_ns) == ({"before": 5.0}, [], pose().time_ns)


def test_keypoints_of_another_number_type_are_taken(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", "class Mine:\n    def process(self, pose):\n"
          "        pose.keypoints = pose.keypoints.astype('float64') * 2\n        return pose\n")  # fmt: skip
    after = stage(tmp_path, "Mine").process(pose())
    assert after.keypoints.dtype == np.float32
    assert after["tail"].x == 60
