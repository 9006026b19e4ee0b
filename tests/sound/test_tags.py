"""What files tell about themselves."""

import base64

import pytest

from sswavenet.sound.reader import AudioReader
from tests.sound.conftest import RATE, SECONDS, read, run_ffmpeg

pytest.importorskip("av")
pytest.importorskip("imageio_ffmpeg")

# A picture of one pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQDJ/pLvAAAAAE"
    "lFTkSuQmCC"
)


@pytest.mark.parametrize(
    "name", ["a.mp3", "a.m4a", "a.flac", "a.ogg", "a.mkv", "a.wma"]
)
def test_tags_are_read(name, encode):
    path = encode(
        name,
        *("-metadata", "title=Söng", "-metadata", "artist=Someone"),
        *("-metadata", "album=All of it"),
    )
    with AudioReader(path) as reader:
        tags = reader.tags
    assert (tags.title, tags.artist, tags.album) == ("Söng", "Someone", "All of it")
    assert tags.cover == b""


@pytest.mark.parametrize("name", ["a.mp3", "a.m4a", "a.flac"])
def test_a_cover_is_read(name, song, tmp_path):
    (tmp_path / "cover.png").write_bytes(PNG)
    run_ffmpeg(
        *("-i", song, "-i", tmp_path / "cover.png", "-map", "0", "-map", "1"),
        *("-c:v", "copy", "-disposition:v", "attached_pic", tmp_path / name),
    )
    assert len(read(tmp_path / name)[0]) >= SECONDS * RATE
    with AudioReader(tmp_path / name) as reader:
        assert reader.tags.cover == PNG
