"""Mixtures and stems in a store that speaks S3, on the loopback interface."""

from __future__ import annotations

import logging
import sys
import threading
import time
import urllib.request

import pytest

import main
from tests.cluster.conftest import SAME_ROUNDING, STEMS, contents, report
from util import UserError

fsspec = pytest.importorskip("fsspec", reason="make .venv/cluster-installed")
moto = pytest.importorskip("moto.server", reason="make .venv/cluster-installed")
werkzeug = pytest.importorskip("werkzeug.serving", reason="it comes with moto")

from sswavenet.cluster.storage import Store

ERRORS = {
    "busy": ("503 Slow Down", "SlowDown"),
    "broken": ("500 Internal Server Error", "InternalError"),
    "denied": ("403 Forbidden", "AccessDenied"),
}


class Faults:
    """A WSGI application between the store and its users, which spoils requests."""

    def __init__(self, store):
        self._store, self._lock = store, threading.Lock()
        self._waiting = []
        self.requests = []

    def spoil(self, method, part, how, times=1):
        """Let so many requests of a method fail in whose path there is this part."""
        self._waiting += [(method, part, how)] * times

    def forget(self):
        """Spoil nothing any more."""
        self._waiting.clear()

    def __call__(self, environ, start_response):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        with self._lock:
            self.requests.append((method, path))
            found = next(
                (
                    fault
                    for fault in self._waiting
                    if fault[0] == method and fault[1] in path
                ),
                None,
            )
            if found:
                self._waiting.remove(found)
        how = found[2] if found else None
        if how in ERRORS:
            status, code = ERRORS[how]
            start_response(status, [("Content-Type", "application/xml")])
            # As HTTP has it, what is asked for names alone is answered without text.
            text = f"<Error><Code>{code}</Code><Message>no</Message></Error>"
            return [] if method == "HEAD" else [text.encode()]
        if how == "slow":
            time.sleep(1)
        if how == "cut":  # the answer breaks off in the middle
            whole = b"".join(self._store(environ, start_response))
            return [whole[: len(whole) // 2]]
        return self._store(environ, start_response)


@pytest.fixture
def faults(monkeypatch):
    """A server with the bucket `archive`; environment variables lead to it."""
    for name in ("werkzeug", "botocore", "aiobotocore", "s3fs", "asyncio"):
        monkeypatch.setattr(logging.getLogger(name), "disabled", True)
    dispatcher = moto.DomainDispatcherApplication(moto.create_backend_app)
    application = Faults(dispatcher)
    server = werkzeug.make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.port}"
    reset = urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")
    urllib.request.urlopen(reset).close()  # it keeps what earlier tests put there
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "2",
    }.items():
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem(use_listings_cache=False).mkdir("archive")
    yield application
    s3fs.S3FileSystem.clear_instance_cache()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def bucket(faults, songs):
    """That bucket with the songs in it."""
    store = fsspec.filesystem("s3", use_listings_cache=False)
    store.put(f"{songs}/", "archive/songs/", recursive=True)
    faults.requests.clear()
    return store


def stems_in(bucket):
    """Of each stem in the bucket its bytes, by its name."""
    names = bucket.find("archive/stems")
    return {name[len("archive/stems/") :]: bucket.cat_file(name) for name in names}


ARGUMENTS = ("s3://archive/songs", "--recursive", "--output_path", "s3://archive/stems")


@pytest.mark.slow
def test_stems_are_those_of_a_folder(run, songs, bucket, tmp_path):
    words = ["--recursive", *SAME_ROUNDING]
    assert run(songs, *words, "--output_path", tmp_path / "out") == 0
    assert run(*ARGUMENTS, *SAME_ROUNDING) == 0
    assert stems_in(bucket) == contents(tmp_path / "out")
    assert run(*ARGUMENTS, "--skip_existing") == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "part"), [("GET", "c d.wav"), ("PUT", "a_drums"), ("HEAD", "b_other")]
)
def test_a_store_that_is_busy_or_slow_is_asked_again(run, faults, bucket, method, part):
    faults.spoil(method, part, "busy", times=2)
    faults.spoil(method, part, "slow")
    assert run(*ARGUMENTS) == 0
    assert len(stems_in(bucket)) == 3 * len(STEMS)
    tries = [path for name, path in faults.requests if name == method and part in path]
    assert len(tries) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("how", ["busy", "broken"])
def test_each_kind_of_request_is_made_again_as_often(
    faults, bucket, monkeypatch, songs, how
):
    monkeypatch.setattr(type(bucket), "retries", 3)
    store, file = Store("s3://archive/songs"), songs / "a.wav"
    kinds = {
        "HEAD": lambda: store.exists("a.wav"),
        "GET": lambda: store.fetch("a.wav", file),
        "PUT": lambda: store.put_all({"new.wav": file}),
        "list": lambda: list(store.files(recursive=True)),
    }
    tries = {}
    for kind, ask in kinds.items():
        method = "GET" if kind == "list" else kind
        faults.requests.clear()
        faults.spoil(method, "archive", how, times=99)
        with pytest.raises(UserError, match="s3://archive/songs"):
            ask()
        faults.forget()
        tries[kind] = sum(name == method for name, _ in faults.requests)
    # Of s3fs, in each of which its library asks `AWS_MAX_ATTEMPTS` times.
    assert tries == dict.fromkeys(kinds, 3 * 2)


def test_an_object_is_found_though_the_store_is_busy_first(run, faults, bucket):
    faults.spoil("HEAD", "songs/a.wav", "busy", times=3)
    assert run("s3://archive/songs/a.wav", *ARGUMENTS[2:]) == 0
    assert sorted(stems_in(bucket)) == sorted(f"a_{stem}.wav" for stem in STEMS)


def test_what_lies_below_a_place_that_is_not_shown_is_found(run, faults, bucket):
    faults.spoil("HEAD", "archive/songs", "denied")
    assert run(*ARGUMENTS) == 0
    assert len(stems_in(bucket)) == 3 * len(STEMS)


def test_an_upload_that_breaks_off_leaves_no_part_of_a_set(
    run, faults, bucket, capsys, tmp_path
):
    faults.spoil("PUT", "a_other", "denied", times=9)
    place = tmp_path / "report.jsonl"
    assert run(*ARGUMENTS, "--report", place) == 1
    assert {name: line["status"] for name, line in report(place).items()} == {
        "a.wav": "failed",
        "b.flac": "separated",
        "c d.wav": "separated",
    }
    assert not [name for name in stems_in(bucket) if name.startswith("a_")]
    errors = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == 1
    assert (
        "s3://archive/songs/a.wav: cannot write s3://archive/stems/a_other.wav"
        in (errors[0])
    )


def test_a_read_that_breaks_off_is_made_again_or_told(run, faults, bucket, capsys):
    faults.spoil("GET", "a.wav", "cut")
    status = run(*ARGUMENTS)
    stems = stems_in(bucket)
    assert len(stems) == 3 * len(STEMS) - (len(STEMS) if status else 0)
    if status:
        assert "cannot read s3://archive/songs/a.wav" in capsys.readouterr().err


def test_what_may_not_be_listed_is_said_in_a_line(run, faults, bucket, capsys):
    faults.spoil("GET", "archive", "denied", times=9)
    faults.spoil("HEAD", "archive", "denied", times=9)
    assert run(*ARGUMENTS) == 2
    lines = capsys.readouterr().err.splitlines()
    (line,) = [line for line in lines if "error" in line]
    assert line.startswith("error: cannot list s3://archive/songs")
    faults.forget()
    assert bucket.find("archive/stems") == []


def test_without_its_package_a_store_names_what_to_install(
    session, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    # What was imported before is remembered there.
    known = sys.modules["fsspec.registry"]._registry
    monkeypatch.delitem(known, "s3", raising=False)
    words = ["--mode", "inference", "--config", str(session), *ARGUMENTS]
    assert main.main(words) == 2
    assert "-m pip install -r requirements-cluster.txt" in capsys.readouterr().err
