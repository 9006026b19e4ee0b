"""The benchmarks run, and count as the network's shapes say."""

import functools
import pathlib
import sys

import pytest
import soundfile

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "benchmarks"))

import bench
import gpu
import harness
import precision

pytestmark = pytest.mark.keras3


def test_the_work_of_separation():
    # 1.72 million multiply-adds a sample, 55 GFLOP a second.
    work = harness.separation_flops(harness.full_size()) / 2 / 16000
    blocks = 40 * (3 * 64 * 128 + 64 * 128)
    assert work == 3 * 64 + blocks + 3 * 64 * 2048 + 3 * 2048 * 3
    assert work == pytest.approx(1.72e6, rel=2e-3)


def test_the_work_of_a_training_step():
    # Long fields need the blocks for hardly more samples than they put out.
    long = harness.full_size(target_field_length=1600001, batch_size=2)
    per_sample = harness.training_flops(long) / 3 / 2 / 1600001
    assert per_sample == pytest.approx(harness.separation_flops(long) / 16000, rel=0.01)
    short = harness.full_size(batch_size=1)
    assert harness.training_flops(short) > 3 * 1603 * per_sample


@pytest.mark.slow
def test_the_benchmark_for_a_gpu_in_miniature(capfd):
    assert gpu.main(["--miniature"]) == 0
    rows = [line for line in capfd.readouterr().out.splitlines() if line[0] == "|"]
    assert rows[:2] == ["| what | figure | |", "| --- | --- | --- |"]
    names = [row.split(" | ")[0].removeprefix("| ") for row in rows[2:]]
    assert names == [
        *(f"matrix product, {name}" for name in gpu.PRODUCTS),
        *(f"network, {name}, 2 fragments of 100" for name in gpu.PRODUCTS),
        *(f"1 s through main.py, {name}" for name in gpu.PRODUCTS),
        "training, batch 10",
        "training, batch 20",
    ]


def test_the_benchmark_for_a_gpu_wants_one(capfd):
    assert gpu.main([]) == 2
    assert "expected a GPU for JAX" in capfd.readouterr().err


def test_the_errors_of_a_precision(tmp_path, rng):
    exact, rough = tmp_path / "exact", tmp_path / "rough"
    for name in ("a_b_vocals", "c_vocals", "c_drums"):
        audio = rng.uniform(-0.5, 0.5, 50)
        for folder, gain in ((exact, 1), (rough, 1.1)):
            folder.mkdir(exist_ok=True)
            path = folder / f"{name}.wav"
            soundfile.write(path, gain * audio, 16000, subtype="DOUBLE")
    found = precision.errors(rough, exact)
    assert found == {"drums": pytest.approx(-20), "vocals": pytest.approx(-20)}
    same = precision.errors(exact, exact)
    assert same == {"drums": float("-inf"), "vocals": float("-inf")}


def test_a_measured_precision_says_what_it_took(tmp_path, capfd):
    assert precision.main(["--mixtures", str(tmp_path / "none"), str(tmp_path)]) == 0
    rows = [line.split("; ") for line in capfd.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == [
        f"none/ with {tmp_path.name}, {name}, whole process"
        for name in precision.PRECISIONS
    ]
    assert all(row[2].startswith("error: ") for row in rows)


@pytest.mark.slow
def test_a_whole_benchmark_is_written_and_a_part_is_not(tmp_path, monkeypatch, capfd):
    def fail(folder):
        raise RuntimeError("much else\nno such processor")

    (tmp_path / "benchmarks").mkdir()
    script = "print('read; 3 a second; 2 to 4'); print('write; 5 s; a; b')\n"
    (tmp_path / "benchmarks" / "some.py").write_text(script)
    sections = {"some": functools.partial(bench.bench_script, "some"), "none": fail}
    monkeypatch.setattr(harness, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "SECTIONS", sections)
    results = tmp_path / "benchmarks" / "RESULTS.md"
    rows = ["| read | 3 a second | 2 to 4 |", "| write | 5 s | a; b |"]
    monkeypatch.setattr(sys, "argv", ["bench.py", "some"])
    bench.main()
    assert capfd.readouterr().out.splitlines() == rows
    assert not results.exists()
    monkeypatch.setattr(sys, "argv", ["bench.py"])
    bench.main()
    written = results.read_text().splitlines()
    assert [line for line in written if line[:2] == "| "][2:] == [
        *rows,
        "| none | failed | no such processor |",
    ]
