"""Files: all or nothing; JSON: clear errors."""

import stat

import pytest

import util
from config import UserError


def test_replacing_renames_on_success_only(tmp_path):
    path = tmp_path / "folder" / "a.txt"
    with util.replacing(path) as temporary:
        temporary.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"

    def fail_halfway():
        with util.replacing(path) as temporary:
            temporary.write_text("second")
            raise KeyError

    with pytest.raises(KeyError):
        fail_halfway()
    assert path.read_text() == "first"
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]


def test_replacing_makes_files_that_others_may_read(tmp_path):
    (tmp_path / "plain").write_text("")
    with util.replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("text")
    mode = (tmp_path / "a.txt").stat().st_mode
    assert stat.S_IMODE(mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_json_is_read_back(tmp_path):
    document = {"b": [1, 2.5], "a": {"é": None}}
    util.write_json(tmp_path / "a.json", document)
    assert util.read_json(tmp_path / "a.json") == document


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "expected JSON"),
        (b"", "expected JSON"),
        (b"\xff\xfe", "expected JSON"),
        (b"[" * 100000, "nested too deeply"),
        (b" " * (util.MAX_JSON_BYTES + 1), "at most"),
        (None, "cannot read"),
    ],
)
def test_what_is_no_json_is_refused_by_name(content, message, tmp_path):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        util.read_json(tmp_path / "a.json")
    assert "a.json" in str(caught.value)
    assert "\n" not in str(caught.value)
