"""What the splits draw on: grooves, scores, tracks, banks and speakers."""

from __future__ import annotations

import pytest

from tests.corpus.support import (
    corpus_scores,
    corpus_sources,
    corpus_speakers,
    packages,
)


@packages
def test_tables_of_the_splits_are_disjoint_and_complete():
    splits = corpus_sources.SPLITS
    grooves = [set(corpus_sources.grooves(split)) for split in splits[:3]]
    assert [len(g) > least for g, least in zip(grooves, (500, 10, 50))] == [True] * 3
    # The same name may stand in two library files; mma then takes either.
    assert len(set.union(*grooves)) == sum(map(len, grooves))
    scores = [set(corpus_scores.doom_scores(split)) for split in splits[:3]]
    assert all(scores)
    assert len(set.union(*scores)) == len(corpus_sources.doom_lumps())
    tracks = [set(corpus_sources.music_tracks(split)) for split in splits]
    assert len(set.union(*tracks)) == sum(map(len, tracks))
    assert len(tracks[3]) == len(corpus_sources.REAL_TRACKS)
    for name in corpus_sources.KITS:
        assert {"kick", "snare", "hat"} <= set(corpus_sources.kit(name))


def test_speakers_split_by_person():
    people = [
        {
            corpus_speakers.SPEAKERS[name].person
            for name in corpus_speakers.speakers(split)
        }
        for split in ("train", "validation", "test")
    ]
    assert all(people)
    assert len(set.union(*people)) == sum(map(len, people))
    assert len(set.union(*people)) >= 12
    assert set(corpus_speakers.REAL_SPEAKERS) <= set(corpus_speakers.speakers("test"))


def test_split_is_by_the_checksum_of_the_name():
    # crc32 of "123456789" is 0xCBF43926, the published check value: 4 more than a
    # multiple of 6.
    assert corpus_sources.split_of("123456789") == "train"
    splits = [corpus_sources.split_of(f"groove{i}") for i in range(3000)]
    assert splits.count("validation") / 3000 == pytest.approx(1 / 18, abs=0.02)
    assert splits.count("test") / 3000 == pytest.approx(2 / 18, abs=0.02)


def test_banks_and_kits_of_both_splits():
    for table in (
        corpus_sources.BANKS,
        corpus_sources.DRUM_BANKS,
        corpus_sources.KITS,
        corpus_sources.LOOPS,
    ):
        assert set(table.values()) == {True, False}
