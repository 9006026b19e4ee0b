"""--html: what its page holds; tests/app shows it to a browser."""

from __future__ import annotations

import base64
import html.parser
import io
import pathlib
import urllib.parse

import numpy as np
import pytest
import soundfile

from sswavenet.page.sketch import to_png
from sswavenet.separation import picture
from tests.support import STEMS, make_tone, without_network

NAME = "it's <b>#1</b>?%20 & more"


class Reader(html.parser.HTMLParser):
    """What a browser makes of a page, as far as it is asked for here.

    Attributes:
        tags: pairs of a tag and its attributes.
        texts: by the tag that they stand in.
    """

    def __init__(self, path):
        super().__init__()
        self.tags, self.texts, self.open = [], [], [""]
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_data(self, data):
        self.texts.append((self.open[-1], data))

    def handle_endtag(self, tag):
        if tag in self.open:
            del self.open[len(self.open) - 1 - self.open[::-1].index(tag) :]

    def all(self, wanted):
        return [attributes for tag, attributes in self.tags if tag == wanted]

    def words(self, wanted):
        return [text.strip() for tag, text in self.texts if tag == wanted]


@pytest.fixture
def show(infer, tmp_path):
    """Separate what is in a folder, and read the page of it."""

    def show(path, *flags, status=0, **more):
        page = tmp_path / "pages" / "page.html"
        assert infer(path, f"--html={page}", *flags, **more)[0] == status
        return Reader(page)

    return show


def content(url):
    """What a `data:` URL holds."""
    kind, data = url.split(";base64,")
    assert kind.startswith("data:audio/")
    return base64.b64decode(data)


def test_the_page_holds_the_mixture_and_its_stems(show, folder, tmp_path):
    make_tone(folder / "song.wav", 8000, 44100, 2)
    page = show(folder)
    files = [folder / "song.wav"]
    files += [tmp_path / "out" / f"song_{stem}.wav" for stem in STEMS]
    players = page.all("audio")
    assert [player["aria-label"] for player in players] == ["mixture", *STEMS]
    for player, file in zip(players, files, strict=True):
        assert content(player["src"]) == file.read_bytes()
    pictures = [image["alt"] for image in page.all("img")]
    assert pictures == [f"Spectrogram of {name}" for name in ("mixture", *STEMS)]
    assert page.words("title") == page.words("h1") == ["Stems of song"]


def test_it_needs_nothing_from_elsewhere(show, folder):
    make_tone(folder / "song.wav", 8000)
    for _, attributes in show(folder).tags:
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith(("data:", "#"))


def test_what_is_too_large_for_it_is_linked_from_where_it_lies(
    show, folder, tmp_path, monkeypatch
):
    make_tone(folder / f"a {NAME.replace('/', '')}.wav", 8000)
    make_tone(folder / "b.wav", 8000)
    make_tone(folder / "c.wav", 800)
    # The second one does not fit behind the first, the third does.
    monkeypatch.setattr(picture, "EMBEDDED_BYTES", 120000)
    page = show(folder)
    places = [player["src"] for player in page.all("audio")]
    assert [place.startswith("data:") for place in places] == 5 * [1] + 5 * [0] + 5 * [
        1
    ]
    found = [
        (tmp_path / "pages" / urllib.parse.unquote(place)).resolve()
        for place in places[5:10]
    ]
    out = tmp_path / "out"
    assert found == [folder / "b.wav", *(out / f"b_{stem}.wav" for stem in STEMS)]
    links = [each["href"] for each in page.all("a") if not each["href"].startswith("#")]
    assert links == places[5:10]


def test_names_are_text_and_links_lead_to_their_files(
    show, folder, tmp_path, monkeypatch
):
    name = NAME.replace("/", "|")
    make_tone(folder / f"{name}.wav", 800)
    monkeypatch.setattr(picture, "EMBEDDED_BYTES", 0)
    page = show(folder)
    assert page.words("h2") == [name]
    assert page.all("b") == []
    for player in page.all("audio"):
        link = urllib.parse.urlsplit(player["src"])
        assert (link.scheme, link.query, link.fragment) == ("", "", "")
        assert (tmp_path / "pages" / urllib.parse.unquote(link.path)).is_file()


def test_a_name_in_no_encoding_is_shown_and_linked(show, folder, tmp_path, monkeypatch):
    make_tone(folder / "s\udce4nger.wav", 800)
    monkeypatch.setattr(picture, "EMBEDDED_BYTES", 0)
    page = show(folder)
    assert page.words("h2") == ["s\N{REPLACEMENT CHARACTER}nger"]
    assert "s%E4nger.wav" in page.all("audio")[0]["src"]


def test_the_page_has_the_facts_of_the_report(show, folder, session):
    make_tone(folder / "song.wav", 800)
    soundfile.write(folder / "loud.wav", [4.5] * 10, 16000, "FLOAT")
    (folder / "bad.wav").write_text("not audio")
    page = show(folder, "--stems=vocals", status=1)
    assert page.words("h2") == ["bad", "loud", "song"]
    assert [text for text in page.words("span") if text in ("failed", "separated")] == [
        "failed",
        "separated",
        "separated",
    ]
    (problem,) = page.words("p")
    assert "bad.wav: expected an audio file" in problem
    cells = page.words("td")
    assert cells[:3] == ["loud_vocals.wav", "10", "10"]
    assert "10 samples of vocals clipped" in page.words("li")
    (checkpoint,) = (session / "checkpoints").iterdir()
    assert str(checkpoint) in cells
    assert "How this was made" in page.words("summary")
    assert "--metrics" not in page.words("th"), "a flag of evaluations"


def test_files_of_one_name_are_told_apart_by_their_folders(show, folder):
    paths = [folder / "one/song.wav", folder / "two/song.wav"]
    for path in paths:
        path.parent.mkdir()
        make_tone(path, 800)
    page = show(folder, "--recursive")
    assert page.words("h2") == ["song", "song"]
    summaries = page.words("summary")
    for path, summary in zip(paths, summaries):
        assert summary.startswith(f"{path}, 16000 Hz, separated in ")


def test_silence_looks_like_nothing(show, folder, require_av):
    """Black, which a light page turns to white."""
    import av

    soundfile.write(folder / "silence.wav", [0.0] * 8000, 16000)
    pictures = show(folder).all("img")
    assert len(pictures) == 1 + len(STEMS)
    for each in pictures:
        png = base64.b64decode(each["src"].removeprefix("data:image/png;base64,"))
        with av.open(io.BytesIO(png)) as file:
            (frame,) = file.decode()
        assert frame.to_ndarray(format="rgb24").max() == 0


def test_the_mixture_plays_from_where_the_stems_begin(show, folder, session):
    make_tone(folder / "song.wav", 32000)
    page = show(folder, "--start=0.5", "--duration=1")
    starts = [player.get("data-start") for player in page.all("audio")]
    assert starts == ["0.500000", None, None, None, None]
    (player,) = page.all("stem-player")
    assert player["data-seconds"] == "1.000"


def test_in_the_framing_of_2018_the_stems_are_late(show, folder):
    make_tone(folder / "song.wav", 32000)
    page = show(folder, "--original_framing")
    mixture, *stems = page.all("audio")
    late = 32000 - len(soundfile.read(_path_of_first_stem(folder))[0])
    assert late > 0
    assert float(mixture["data-start"]) == pytest.approx(late / 2 / 16000, abs=1e-4)
    assert all("data-start" not in stem for stem in stems)


def _path_of_first_stem(folder):
    return folder.parent / "out" / "song_vocals.wav"


def test_what_was_there_is_named(show, folder):
    make_tone(folder / "song.wav", 800)
    show(folder)
    page = show(folder, "--skip_existing")
    assert page.words("p") == ["its stems were there already"]
    assert page.all("audio") == []


def test_after_an_interrupt_the_page_has_what_was_done(
    folder, session, tmp_path, monkeypatch
):
    make_tone(folder / "a.wav", 800)
    make_tone(folder / "b.wav", 800)
    add = picture.Picture.add

    def interrupted(self, found):
        add(self, found)
        raise KeyboardInterrupt

    monkeypatch.setattr(picture.Picture, "add", interrupted)
    page = tmp_path / "page.html"
    words = [str(folder), "--session", str(session), "--html", str(page)]
    with without_network() as main:
        assert main([*words, "--output_path", str(tmp_path / "out")]) == 130
    read = Reader(page)
    assert read.words("h1") == ["Stems of a"]
    assert len(read.all("audio")) == 5
    assert "Stopped before its end" in read.words("summary")


def test_a_picture_is_a_png_of_its_levels(tmp_path, rng, require_av):
    levels = rng.integers(0, 256, (13, 21), dtype=np.uint8)
    palette = rng.integers(0, 256, (256, 3), dtype=np.uint8)
    (tmp_path / "levels.png").write_bytes(to_png(levels, palette))
    import av

    with av.open(str(tmp_path / "levels.png")) as file:
        (frame,) = file.decode(video=0)
    np.testing.assert_array_equal(frame.to_ndarray(format="rgb24"), palette[levels])


def test_stems_that_somebody_moved_end_nothing(show, folder, monkeypatch):
    make_tone(folder / "song.wav", 800)
    add = picture.Picture.add

    def after_a_move(self, found):
        pathlib.Path(found.stems["bass"].path).unlink()
        add(self, found)

    monkeypatch.setattr(picture.Picture, "add", after_a_move)
    (problem,) = show(folder).words("p")
    assert problem.startswith("nothing can be played")
    assert "song_bass.wav" in problem


def test_the_page_and_the_report_have_places_of_their_own(infer, folder, tmp_path):
    make_tone(folder / "song.wav", 800)
    place = tmp_path / "both"
    status, (line,) = infer(folder, f"--html={place}", f"--report={place}")
    assert status == 2
    assert "expected another place than that of --report" in line
    assert not (tmp_path / "out").exists()
