"""Times and bit rates as they stand on a command line."""

import argparse

import pytest

from sswavenet.console import parser


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("90", 90),
        ("1.25", 1.25),
        ("1:30", 90),
        ("0:00.5", 0.5),
        ("2:03:04.5", 7384.5),
        ("100:00", 6000),
    ],
)
def test_seconds(text, expected):
    assert parser.seconds(text) == expected


@pytest.mark.parametrize(
    "text", ["", ":", "1:", "-1", "1:60", "0:-1", "1:2:3:4", "nan", "inf", "1e9", "1 h"]
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected seconds, m:s or"):
        parser.seconds(text)


def test_a_duration_is_more_than_nothing():
    assert parser.duration("0:01") == 1
    with pytest.raises(argparse.ArgumentTypeError, match="more than nothing"):
        parser.duration("0:00")


def test_bit_rates():
    assert parser.bitrate("192k") == parser.bitrate("192K") == 192000
    assert parser.bitrate("96000") == 96000
    for text in ("", "k", "7999", "192", "3000k", "-64k", "64kk", "1e5", "²k"):
        with pytest.raises(argparse.ArgumentTypeError, match="expected 8k to 2000k"):
            parser.bitrate(text)
