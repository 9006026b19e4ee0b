"""Recorded instruments in the songs."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest

from tests.corpus.support import (
    RATE,
    corpus_recorded,
    corpus_scores,
    corpus_song,
    corpus_synth,
    job,
    mido,
    packages,
)


def some_events(stem, programs=(0,)):
    """Notes of a stem on a channel for each program."""
    events = []
    for channel, program in enumerate(programs):
        change = mido.Message("program_change", channel=channel, program=program)
        events.append(corpus_scores.Event(0.0, stem, change))
        for at, note in ((0.2, 40), (0.6, 90)):
            for kind, later in (("note_on", 0.0), ("note_off", 0.2)):
                message = mido.Message(kind, channel=channel, note=note, velocity=90)
                events.append(corpus_scores.Event(at + later, stem, message))
    return sorted(events, key=lambda event: event.time)


def test_half_of_the_songs_have_a_recorded_bass_and_a_third_a_guitar(instruments):
    drawn = {"bass": [], "other": [], "drums": []}
    take = corpus_recorded.Take(instruments, 1.0, RATE)
    for seed in range(300):
        for stem, draw in (
            ("bass", corpus_recorded.draw_bass),
            ("other", corpus_recorded.draw_lead),
            ("drums", corpus_recorded.draw_percussion),
        ):
            rng = random.Random(f"{stem}/{seed}")
            made = draw(rng, some_events(stem), take)
            drawn[stem].append(made and made[0])
    played = {stem: [name for name in names if name] for stem, names in drawn.items()}
    assert len(played["bass"]) / 300 == pytest.approx(1 / 2, abs=0.08)
    guitars = [name for name in played["other"] if name in corpus_recorded.GUITARS]
    assert len(guitars) / 300 == pytest.approx(1 / 3, abs=0.08)
    assert set(played["bass"]) == set(corpus_recorded.BASSES)
    assert set(guitars) == set(corpus_recorded.GUITARS)
    assert set(played["other"]) - set(guitars) == {"weresax"}
    assert set(played["drums"]) == set(corpus_recorded.PERCUSSION)


def test_a_recorded_guitar_takes_the_guitars_channel_and_leaves_the_rest(instruments):
    events = some_events("other", programs=(0, 27, 48))
    for seed in range(40):
        take = corpus_recorded.Take(instruments, 1.0, RATE)
        lead = corpus_recorded.draw_lead(random.Random(seed), events, take)
        if lead and lead[0] in corpus_recorded.GUITARS:
            assert {event.message.channel for event in lead[2]} == {0, 2}
            break
    else:
        pytest.fail("no guitar in 40 draws")


def test_pitches_are_folded_into_what_the_instrument_plays():
    low = corpus_recorded.Instrument("x.sfz", 28, 60)
    assert [corpus_recorded.fold(p, low) for p in (20, 28, 60, 61, 85)] == [
        32, 28, 60, 49, 49
    ]  # fmt: skip


def test_a_melody_has_one_note_at_a_time():
    note = corpus_synth.Note
    chords = [note(0, 1, 60, 90), note(0, 1, 67, 90), note(0.5, 1, 64, 90)]
    melody = corpus_recorded.highest(chords)
    assert [(n.start, n.length, n.pitch) for n in melody] == [
        (0, 0.5, 67),
        (0.5, 1, 64),
    ]


@pytest.mark.slow
@packages
def test_only_training_songs_have_recorded_instruments(instruments, cache, monkeypatch):
    for share in ("BASS_SHARE", "GUITAR_SHARE", "PERCUSSION_SHARE"):
        monkeypatch.setattr(corpus_recorded, share, 1.0)
    with_them = dataclasses.replace(job(cache, "test", 0), instruments=instruments)
    record, stems, _ = corpus_song.make(with_them)
    plain_record, plain, _ = corpus_song.make(job(cache, "test", 0))
    assert record == plain_record
    np.testing.assert_array_equal(stems, plain)
    train = dataclasses.replace(job(cache, "train", 0), instruments=instruments)
    record, stems, mixture = corpus_song.make(train)
    assert record["banks"]["bass"] in corpus_recorded.BASSES
    assert record["banks"]["other"].split("+")[-1] in corpus_recorded.GUITARS
    assert record["banks"]["drums"].split("+")[-1] in corpus_recorded.PERCUSSION
    np.testing.assert_array_equal(stems.sum(axis=0), mixture)
    # And so that it can be repeated.
    np.testing.assert_array_equal(corpus_song.make(train)[1], stems)
