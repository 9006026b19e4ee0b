"""The plan of a song."""

from __future__ import annotations

import numpy as np
import pytest

from tests.corpus.support import corpus_job, corpus_speakers, job


def test_plan_depends_on_the_seed_alone(tmp_path):
    plans = {
        seed: corpus_job.draw_plan(job(tmp_path, "train", seed)) for seed in range(99)
    }
    for seed in reversed(range(99)):
        assert corpus_job.draw_plan(job(tmp_path, "train", seed)) == plans[seed]
    assert len(set(plans.values())) > 40
    assert (
        corpus_job.Plan("mma", "june-fr", "sung").name(12) == "mma-00012-june-fr-sung"
    )


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_plans_hold_out_speakers_and_record_a_third(tmp_path, split):
    plans = [corpus_job.draw_plan(job(tmp_path, split, seed)) for seed in range(600)]
    assert {p.speaker for p in plans} == set(corpus_speakers.speakers(split))
    recorded = np.mean([p.style != "sung" for p in plans])
    assert 1 / 3 < recorded < 1 / 2
    for plan in plans:
        if plan.style != "sung":
            assert corpus_speakers.SPEAKERS[plan.speaker].phrases
