"""The cache: for this user alone, or not used."""

import os
import stat

import pytest

from sswavenet.backend import folders
from util import UserError


def test_a_user_without_a_home_folder_is_told(monkeypatch, tmp_path):
    def no_entry(_):
        raise KeyError

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", no_entry)
    with pytest.raises(UserError, match="set HOME, or XDG_CACHE_HOME"):
        folders.cache_folder()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folders.cache_folder() == tmp_path / "sswavenet"


@pytest.mark.parametrize("umask", [0, 0o002, 0o077])
def test_the_cache_is_for_this_user_alone_whatever_the_umask(
    umask, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = os.umask(umask)
    try:
        folder = folders.code_folder("xla")
    finally:
        os.umask(before)
    for place in (tmp_path / "cache", folders.cache_folder(), folder):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700


def test_code_is_not_taken_from_a_folder_that_others_write_into(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = folders.code_folder("xla")
    for place in (folder, folder.parent):
        place.chmod(0o720)
        with pytest.raises(PermissionError, match="expected a folder that belongs to"):
            folders.code_folder("xla")
        place.chmod(0o755)
        folders.code_folder("xla")
    owner = folder.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(PermissionError, match="expected a folder that belongs to"):
        folders.code_folder("xla")
