"""How the library comes about and is kept, and what happens without a compiler."""

from __future__ import annotations

import ctypes
import os

import pytest

from sswavenet.backend import compat, fused
from tests.support import wide_config

if compat.backend_name() != "jax":
    pytest.skip("custom calls are JAX's", allow_module_level=True)
pytest.importorskip("jax")


@pytest.fixture
def afresh(monkeypatch, tmp_path):
    """As in a first run: nothing registered, an empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fused._registered.cache_clear()
    yield tmp_path / "sswavenet"
    fused._registered.cache_clear()


def test_says_that_there_is_no_compiler(afresh, monkeypatch, caplog):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "absent")
    with caplog.at_level("INFO"):
        assert not fused.available(wide_config("multi-instrument"))
    assert "no C++ compiler" in caplog.text
    assert not list(afresh.iterdir())


def test_says_that_the_compiler_failed(afresh, monkeypatch, caplog, tmp_path):
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\nprintf '\\377 error: too old\\n' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with caplog.at_level("INFO"):
        assert not fused.available(wide_config("multi-instrument"))
    assert "error: too old" in caplog.text
    assert not list(afresh.iterdir())


@pytest.fixture
def quick_compiler(monkeypatch, tmp_path):
    """Takes no time, and writes the same bytes each time."""
    compiler = tmp_path / "c++"
    lines = "#!/bin/sh", '[ "$1" = --version ] && exec echo 1.0', "for last; do :; done"
    compiler.write_text("\n".join((*lines, 'seq 999 >"$last"')))
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    return compiler


def test_what_was_compiled_once_is_kept(afresh, quick_compiler, monkeypatch):
    library = fused._library()
    monkeypatch.setenv("CXX", "absent")
    monkeypatch.setenv("PATH", "")  # no compiler any more
    assert fused._library() == library
    assert list(afresh.iterdir()) == [library]


def test_another_version_of_the_compiler_compiles_anew(afresh, quick_compiler):
    library = fused._library()
    text = quick_compiler.read_text()
    quick_compiler.write_text(text.replace("1.0", "1.1"))
    other = fused._library()
    assert sorted(afresh.iterdir()) == sorted([library, other])
    quick_compiler.write_text(text)
    assert fused._library() == library != other


@pytest.mark.parametrize("size", [0, 100])
def test_a_library_that_was_cut_short_is_made_anew(size, afresh, quick_compiler):
    """To load one ends the process with SIGBUS."""
    library = fused._library()
    content = library.read_bytes()
    os.truncate(library, size)
    assert fused._library() == library
    assert library.read_bytes() == content
    assert list(afresh.iterdir()) == [library]


def test_a_pipe_in_the_place_of_a_library_is_not_opened(afresh, quick_compiler):
    library = fused._library()
    content = library.read_bytes()
    library.unlink()
    os.mkfifo(library)
    assert fused._library() == library
    assert library.read_bytes() == content


@pytest.mark.parametrize("whose", ["writable", "another's"])
def test_nothing_is_loaded_from_a_folder_that_others_write_into(
    whose, afresh, quick_compiler, monkeypatch, caplog
):
    library = fused._library()  # so it could be planted
    if whose == "writable":
        afresh.chmod(0o777)
    else:
        owner = afresh.stat().st_uid
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_: pytest.fail("it was loaded"))
    with caplog.at_level("INFO"):
        assert not fused.available(wide_config("multi-instrument"))
    assert "expected a folder that belongs to this user" in caplog.text
    assert list(afresh.iterdir()) == [library]
