"""What answers, to whom, and what does not."""

from __future__ import annotations

import base64
import http.client
import importlib.util
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse

import pytest

from tests.app.conftest import ROOT

pytestmark = pytest.mark.slow


def post(server, path, body, headers):
    """Status and text of an answer to a POST."""
    address = urllib.parse.urlsplit(server.url).netloc
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def upload(server, content, name="song.wav", **headers):
    """The answer to a file that is uploaded as browsers do it."""
    lines = [
        b"--frontier",
        f'Content-Disposition: form-data; name="files"; filename="{name}"'.encode(),
        b"",
        content,
        b"--frontier--",
        b"",
    ]
    kind = {"Content-Type": "multipart/form-data; boundary=frontier"}
    body = b"\r\n".join(lines)
    return post(server, "/gradio_api/upload", body, {**kind, **headers})


@pytest.mark.skipif(not pathlib.Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_page_that_nobody_uses_leaves_the_processor_alone(server):
    """At best of some moments, since other tests' work may just end."""

    def used():
        stat = pathlib.Path(f"/proc/{server.process.pid}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    found = []
    for _ in range(5):
        before = used()
        time.sleep(2)
        found.append(used() - before)
    assert min(found) < 0.03, found


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=README.md",
        f"/gradio_api/file={ROOT}/README.md",
        "/gradio_api/file=../../etc/passwd",
        "/gradio_api/file=file:///etc/passwd",
        "/stems/x/vocals.wav",
        "/stems/..%2F..%2Fetc/passwd",
        "/stems/../../../etc/passwd",
        "/static/..%2f..%2f..%2f..%2f..%2fetc/passwd",
        "/assets/../../../../../etc/passwd",
        "/docs",
        "/openapi.json",
    ],
)
def test_no_other_file_is_served(path, server):
    status, body = server.get(path)
    assert status in (400, 403, 404, 405, 422)
    assert b"root:" not in body


@pytest.mark.parametrize(
    "path",
    [
        "proxy=http://127.0.0.1:1/",
        "file=http://127.0.0.1:1/song.wav",
        "file//etc/passwd",
        "info",
        "openapi.json",
        "vibe-code",
        "stream/x/0/0/playlist.m3u8",
    ],
)
def test_what_the_page_does_not_need_is_not_there(path, server):
    assert server.get(f"/gradio_api/{path}") == (404, b"not found")


def test_what_gradio_would_take_in_and_keep_is_not_taken(server):
    def everything():
        return set(server.temporary.rglob("*"))

    before = everything()
    part = 'Content-Disposition: form-data; name="video"; filename="x.mp4"'
    body = f"--frontier\r\n{part}\r\n\r\nvideo\r\n--frontier--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=frontier"}
    for name in ("process_recording", "upload/", "component_server", "vibe-edit"):
        assert post(server, f"/gradio_api/{name}", body, kind)[0] == 404, name
    assert everything() == before


@pytest.mark.parametrize(
    "name", ["../../../evil.wav", "/etc/evil.wav", "..", "a/b.wav"]
)
def test_the_name_of_an_upload_is_no_path(name, server):
    status, text = upload(server, b"no audio", name)
    assert status == 200
    (path,) = json.loads(text)
    folder = server.temporary.resolve()
    assert path.startswith(str(folder))
    assert path.endswith(("/song.wav", "/song"))
    assert not list(folder.rglob("*evil*"))


def test_an_upload_that_is_too_large_leaves_nothing(server):
    before = set(server.files)
    status, text = upload(server, bytes(20 * 10**6 + 2**16 + 1))
    assert status == 413
    assert "at most 20 MB" in text
    assert "--max_megabytes" in text
    # Within what the request may be larger, but not the file.
    assert upload(server, bytes(20 * 10**6 + 1))[0] == 400
    status, _ = post(
        server, "/gradio_api/upload", iter([b"x"]), {"Transfer-Encoding": "chunked"}
    )
    assert status == 411
    assert set(server.files) == before


@pytest.mark.parametrize("body", [b"", b"--frontier--\r\n", b"nonsense"])
def test_what_is_no_upload_is_refused(body, server):
    kind = {"Content-Type": "multipart/form-data; boundary=frontier"}
    before = set(server.files)
    assert post(server, "/gradio_api/upload", body, kind)[0] == 400
    assert post(server, "/gradio_api/upload", body, {})[0] == 400
    assert set(server.files) == before


def test_two_files_in_one_upload_are_refused(server):
    part = 'Content-Disposition: form-data; name="files"; filename="x.wav"'
    body = 2 * f"--frontier\r\n{part}\r\n\r\nsong\r\n" + "--frontier--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=frontier"}
    before = set(server.files)
    answer = post(server, "/gradio_api/upload", body, kind)
    assert answer == (400, "expected one file at a time")
    assert set(server.files) == before


def test_a_path_that_was_not_uploaded_is_not_read(server):
    session = "stranger"
    config = json.loads(server.get("/config")[1])
    for path in ("/etc/passwd", str(ROOT / "audio/samba.flac")):
        for number, function in enumerate(config["dependencies"]):
            if "upload" not in str(function["targets"]):
                continue
            file = {"path": path, "meta": {"_type": "gradio.FileData"}}
            data = [file, "multi-instrument", "wav, PCM_16"]
            body = {"data": data, "fn_index": number, "session_hash": session}
            status, text = post(
                server,
                "/gradio_api/run/predict",
                json.dumps(body),
                {"Content-Type": "application/json"},
            )
            assert status >= 400 or "closed here" in text
            assert "kHz" not in text


def test_only_pages_of_this_machine_may_ask(server):
    assert server.get("/")[0] == 200
    port = server.url.rpartition(":")[2]
    assert server.get("/", Host=f"localhost:{port}")[0] == 200
    assert server.get("/", Host="evil.example")[0] == 400
    assert server.get("/config", Host=f"evil.example:{port}")[0] == 400


def test_the_page_says_that_nothing_comes_from_elsewhere(server):
    address = urllib.parse.urlsplit(server.url).netloc
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request("GET", "/")
    answer = connection.getresponse()
    policy = answer.getheader("Content-Security-Policy")
    answer.read()
    connection.close()
    assert "default-src 'self' data: blob:;" in policy
    assert "http" not in policy


def test_whoever_lets_others_in_is_warned_and_a_password_keeps_them_out(start_server):
    def basic(text):
        word = base64.b64encode(text.encode()).decode()
        return {"Authorization": f"Basic {word}"}

    server = start_server("--host", "0.0.0.0", "--password", "süß:en")
    text = "warning: whoever has the password and reaches 0.0.0.0"
    assert text in server.log.read_text()
    server.url = server.url.replace("0.0.0.0", "127.0.0.1")
    for path in ("/", "/config", "/stems/x/y.wav", "/gradio_api/heartbeat/x"):
        assert server.get(path)[0] == 401
        assert server.get(path, **basic("me:wrong"))[0] == 401
        assert server.get(path, Authorization="Basic ?")[0] == 401
    assert upload(server, b"x")[0] == 401
    assert server.get("/", **basic("anybody:süß:en"))[0] == 200
    assert server.get("/stems/x/y.wav", **basic(":süß:en"))[0] == 404


def test_without_a_password_the_warning_says_what_to_do(start_server):
    server = start_server("--host", "0.0.0.0")
    text = server.log.read_text()
    assert "warning: everybody who reaches 0.0.0.0" in text
    assert "--password lets in only who knows it" in text


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_ends_it_and_nothing_is_left(number, status, start_server):
    server = start_server()
    assert list(server.temporary.iterdir())
    assert server.stop(number) == status
    assert list(server.temporary.glob("sswavenet-app-*")) == []
    assert "Traceback" not in server.log.read_text()


def run(*words, code="from main import main; sys.exit(main(sys.argv[1:]))"):
    line = [sys.executable, "-c", f"import sys; {code}", *words]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_port_that_is_taken_takes_one_line(server):
    port = server.url.rpartition(":")[2]
    done = run("app", "--port", port)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: cannot listen on 127.0.0.1 port {port}: Address already in use; "
        "--host and --port choose others\n"
    )
    with socket.create_connection(("127.0.0.1", int(port))):
        pass


def test_a_host_that_is_none_takes_one_line(require):
    require(importlib.util.find_spec("gradio"), "Gradio")
    done = run("app", "--host", "no.such.host.invalid")
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot listen on no.such.host.invalid port")
    assert done.stderr.count("\n") == 1


def test_a_session_that_is_none_takes_one_line(server):
    done = run("app", "--port", "0", "--session", "nothing-here")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    # Beside what make train-demo has made.
    assert re.search(r"expected (\S+, )*multi-instrument, ", done.stderr)
