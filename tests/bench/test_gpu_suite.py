"""bench/gpu.sh where there is no GPU: it says what did not work, ends in time, and its comparison of
answers, which runs on the CPU here, can fail."""

import json
import os
import subprocess
import sys
import time

import pytest

import cluster
import reference_model

sys.path.insert(0, str(cluster.ROOT / "bench/gpu"))
import gguf_file  # noqa: E402
import llama8b  # noqa: E402
import make_files  # noqa: E402
import stages  # noqa: E402

if cluster.find_model() is None:
    pytest.skip("no model: run launch/install.sh or set LOCKSTEP_TEST_MODEL", allow_module_level=True)
STAGES = ["facts", "suite", "sanitizer", "nccl", "model", "kernels", "decode8b", "profile"]


def run(out, *arguments):
    """The script's exit status, its results, and what it printed."""
    done = subprocess.run([cluster.ROOT / "bench/gpu.sh", "--out", out, *map(str, arguments)],
                          capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHON": sys.executable})
    results = json.loads((out / "results.json").read_text())
    return done.returncode, {stage["stage"]: stage for stage in results["stages"]}, done.stdout


def put_program(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model of two layers, as many as stages, and its reference."""
    folder = tmp_path_factory.mktemp("files")
    make_files.truncate(cluster.find_model(), folder / "model.gguf", 2)
    reference = make_files.reference(folder / "model.gguf", make_files.PROMPTS[:2], 5)
    (folder / "reference.json").write_text(json.dumps(reference))
    return folder


@pytest.fixture
def build(tmp_path):
    """A build folder with the program under test."""
    folder = tmp_path / "build"
    folder.mkdir()
    (folder / "lockstep").symlink_to(cluster.BINARY.resolve())
    return folder


def test_without_programs_each_stage_says_what_it_misses(tmp_path):
    status, results, printed = run(tmp_path / "out", "--build", tmp_path)
    assert status == 1
    assert list(results) == STAGES
    for name in STAGES[1:]:
        assert results[name]["status"] in ("failed", "skipped"), name
        assert "not in " in results[name]["reason"], name
    assert printed == (tmp_path / "out/results.md").read_text()
    assert "| kernels | failed |" in printed


def test_failed_tests_are_named(tmp_path):
    """Each test is a process of its own: one that dies takes no other along."""
    put_program(tmp_path, "tests/cuda_suite", """case "$*" in
  *--gtest_list_tests*CudaMemory.\\*) if [ "$2" = "--gtest_filter=CudaMemory.*" ]; then
      printf 'CudaMemory.\\n  IsFreed\\n'
    else printf 'CudaA.\\n  Works  # of type\\n  Breaks\\n  Dies\\nCudaB.\\n  Waits\\n'; fi;;
  *CudaA.Breaks) echo 'why it broke'; exit 1;;
  *CudaA.Dies) kill -SEGV $$;;
  *CudaB.Waits) echo '[  SKIPPED ] 1 test, listed below:';;
esac
""")
    status, results, _ = run(tmp_path / "out", "--build", tmp_path, "--only", "suite")
    assert status == 1
    assert results["suite"]["status"] == "failed"
    assert results["suite"]["reason"] == (
        "2 of 4 tests failed: CudaA.Breaks (status 1), CudaA.Dies (status -11)")
    assert results["suite"]["figures"] == [
        {"what": "suite", "tests": 4, "passed": 1, "failed": 2, "skipped": 1},
        {"what": "suite, memory", "tests": 1, "passed": 1, "failed": 0, "skipped": 0}]
    assert "why it broke" in (tmp_path / "out/suite.log").read_text()


def test_a_program_that_hangs_is_ended_with_what_it_started(tmp_path):
    put_program(tmp_path, "tests/cuda_suite", f"sleep 1000 & echo $! > {tmp_path}/child\nwait\n")
    begin = time.monotonic()
    status, results, _ = run(tmp_path / "out", "--build", tmp_path, "--only", "suite", "--seconds", 2)
    assert status == 1
    assert "took longer than" in results["suite"]["reason"]
    assert time.monotonic() - begin < 20
    assert not cluster.is_alive(int((tmp_path / "child").read_text()))


def test_a_dry_run_starts_nothing(tmp_path):
    put_program(tmp_path, "tests/cuda_suite", f"touch {tmp_path}/started\n")
    done = subprocess.run([cluster.ROOT / "bench/gpu.sh", "--build", tmp_path, "--dry-run"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines()] == STAGES
    assert f"missing in {tmp_path}: cuda_kernels" in done.stdout
    assert not (tmp_path / "started").exists()


def test_truncation_keeps_the_first_layers_as_they_are(tmp_path, files):
    source, short = (gguf_file.GgufFile(path) for path in (cluster.find_model(), files / "model.gguf"))
    assert reference_model.load(files / "model.gguf").meta["llama.block_count"] == 2
    assert "blk.1.ffn_down.weight" in short.tensors and "blk.2.ffn_down.weight" not in short.tensors
    for name, tensor in short.tensors.items():
        assert tensor == source.tensors[name], name
    changed = {k for k in source.fields if source.fields[k] != short.fields[k]}
    assert changed == {"llama.block_count"}


def test_the_8b_models_file_is_one_that_is_served(tmp_path, build, monkeypatch):
    for name, value in {"HIDDEN": 256, "HEADS": 4, "KV_HEADS": 2, "INNER": 512, "LAYERS": 2,
                        "VOCABULARY": 50000, "_PIECE": 4096}.items():
        monkeypatch.setattr(llama8b, name, value)
    path = tmp_path / "small.gguf"
    llama8b.make(cluster.find_model(), path)
    values = reference_model.load(path).tensors["output_norm.weight"]
    assert values.tolist() == [1.0] * 256
    numbers = gguf_file.GgufFile(path).tensors["output.weight"][2]
    words = memoryview(bytes(numbers)).cast("H")
    sizes = [(word & 0x7FFF) >> 7 for word in words[:4096]]  # exponents
    assert min(sizes) >= 127 - 9 and max(sizes) < 127 - 5
    monkeypatch.setenv("LOCKSTEP_TEST_MODEL", str(path))
    with cluster.Cluster(1) as server:
        answer = server.generate("--token-ids", "1,2,3", "--max-tokens", "8", "--ignore-eos")
    assert len(answer["token_ids"]) == 8


def test_the_models_answers_are_compared_at_every_number_of_ranks(tmp_path, build, files):
    arguments = ["--build", build, "--files", files, "--device", "cpu", "--only", "model"]
    status, results, _ = run(tmp_path / "out", *arguments)
    assert results["model"]["reason"] == ""
    assert status == 0
    assert [(figure["ranks"], figure["stages"]) for figure in results["model"]["figures"]] == [
        (1, 1), (2, 1), (4, 1), (2, 2)]
    assert all(0 < figure["tokens_as_the_reference"] <= 10 for figure in results["model"]["figures"])

    other = json.loads((files / "reference.json").read_text())
    other["cases"][1]["ids"][0] += 1
    other["cases"][1]["top2_gap"][0] = 5.0
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "model.gguf").symlink_to(files / "model.gguf")
    (folder / "reference.json").write_text(json.dumps(other))
    status, results, _ = run(tmp_path / "out", *arguments[:2], "--files", folder, *arguments[4:])
    assert status == 1
    assert "1 ranks: prompt '1, 2, 3, 4,', token 0" in results["model"]["reason"]


def test_a_profile_is_of_one_step_that_decodes():
    def row(kernel, nanoseconds):
        return f'"7","{kernel}","{nanoseconds}"'
    lines = ["==PROF== Connected", '"ID","Kernel Name","gpu__time_duration.sum"', '"","","ns"',
             row("void <unnamed>::embedding_kernel(Args)", "9,000"), row("norm_kernel(Args)", 5),  # the prompt
             row("void <unnamed>::embedding_kernel(Args)", "1,500"), row("void few<Tile, (int)1>(Args)", 500),
             row("void few<Tile, (int)1>(Args)", "2,000"), row("embedding_kernel(Args)", 1)]
    assert stages.kernels_of_a_step("\n".join(lines)) == [
        {"kernel": "few", "calls": 2, "us": 2.5, "share": 0.625},
        {"kernel": "embedding_kernel", "calls": 1, "us": 1.5, "share": 0.375}]
    with pytest.raises(stages.Failed, match="saw 2 steps begin"):
        stages.kernels_of_a_step("\n".join(lines[:-1]))
    with pytest.raises(stages.Failed, match="left no table"):
        stages.kernels_of_a_step("==ERROR== no GPU")


def test_the_share_of_the_limit_is_of_what_a_token_reads(tmp_path):
    """Llama-3.1-8B: 8,030,261,248 numbers, of which 525,336,576 are the embedding and as many the head."""
    work = stages.Work("decode8b", None, tmp_path, 1, tmp_path)
    assert stages.share_of_limit(work, "bf16", 5) is None
    (tmp_path / "kernels.own.json").write_text("")
    assert stages.share_of_limit(work, "bf16", 5) is None
    (tmp_path / "kernels.own.json").write_text('{"read_gb_per_s": 5000}')
    # 2 x 7,504,658,432 bytes at 5 TB/s are 3.0 ms. (The norms' few numbers are left out.)
    assert stages.share_of_limit(work, "bf16", 6.0037267456) == pytest.approx(0.5)
    # 6,979,321,856 and 2 x 525,336,576: 1.606 ms.
    assert stages.share_of_limit(work, "fp8", 1.6059990016) == pytest.approx(1)


def test_the_gap_between_steps_is_read_from_a_timeline(tmp_path):
    steps = [(0, 10), (10.5, 10), (21.5, 10)]  # begin, duration
    events = [{"name": "step on the GPU", "ts": ts, "dur": dur} for ts, dur in steps]
    path = tmp_path / "trace.json"
    path.write_text(json.dumps([{"name": "other"}, *events]))
    assert stages.step_gaps(path) == (0.8, 1.0)


def test_a_server_that_does_not_start_is_a_failure_with_its_words(tmp_path, files):
    put_program(tmp_path, "lockstep", "echo the forward pass is missing >&2; exit 1\n")
    status, results, _ = run(tmp_path / "out", "--build", tmp_path, "--files", files, "--only", "model")
    assert status == 1
    assert "1 ranks ended with 1 before they were ready" in results["model"]["reason"]
    assert "the forward pass is missing" in results["model"]["reason"]
