"""bench/run.sh's tables: what is taken in pairs is divided in pairs, medians are over runs."""

import json
import sys

import cluster
import pytest

sys.path.insert(0, str(cluster.ROOT / "bench"))
import guessing  # noqa: E402
import load  # noqa: E402
import report  # noqa: E402

ABOUT = {"date": "2026-01-01", "cpu": "a CPU", "cores": 2, "instructions": ["avx2"], "commit": "abc",
         "runs": 3, "quick": False}


def tables(tmp_path, section, figures, about=ABOUT):
    """The rows of a section's tables, without their rules, as lists of cells."""
    (tmp_path / f"{section}.json").write_text(json.dumps({
        "format": report.FORMAT, "about": about, "figures": figures}))
    text = report.markdown(tmp_path)
    assert report.measured_on(about) in text
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines()
            if line.startswith("|") and not line.startswith("|---")]


def test_a_share_is_the_median_of_shares_and_not_of_medians(tmp_path):
    runs = [{"tok_s": 50.0, "limit": 100.0, "share": 0.5}, {"tok_s": 90.0, "limit": 300.0, "share": 0.3},
            {"tok_s": 80.0, "limit": 100.0, "share": 0.8}]
    _, row = tables(tmp_path, "decode1", {"Lockstep Q4_1": runs})
    assert row == ["Lockstep Q4_1", "80 (50-90)", "100 (100-300)", "50 %"]


def test_the_1b_shape_has_a_share_and_two_tables_of_load(tmp_path):
    round_ = {"tok_s": 10.0, "ttft_ms": 400.0, "decode_tok_s": 30.0}
    rows = tables(tmp_path, "llama1b", {"Lockstep bf16": [
        {"alone": {"tok_s": 22.0, "limit": 25.0, "share": 0.88}, "1": round_, "8": round_}]})
    assert rows[1] == ["Lockstep bf16", "22", "25", "88 %"]
    assert rows[2] == ["", "1 at once", "8 at once"]
    assert rows[3] == ["Lockstep bf16", "10.0 · 400 ms", "10.0 · 400 ms"]
    assert rows[5] == ["Lockstep bf16", "30 · 400 ms", "30 · 400 ms"]


def test_ranks_are_compared_by_the_pairs_ratios(tmp_path):
    def run(first, second, ratio):
        return {"1": {"decode_tok_s": {"first": first, "second": second, "ratio": ratio},
                      "ttft_ms": {"first": 60.0, "second": 66.0, "ratio": 1.1}}}
    _, row = tables(tmp_path, "ranks", {"Q4_1": [run(200.0, 190.0, 0.95), run(300.0, 200.0, 0.67),
                                                 run(100.0, 98.0, 0.98)]})
    assert row == ["Q4_1, 1 at once", "200 (100-300)", "190 (98-200)", "95 %", "60 (60-60)",
                   "66 (66-66)", "110 %"]


def test_the_split_ends_in_what_no_part_counts(tmp_path):
    parts = {f"{part} rank {rank}": 10.0 + rank for part in report.PARTS for rank in (0, 1)}
    runs = [{"8": {**parts, "coordinator rank 0": 3.0, "all": 100.0}}]
    _, zero, one = tables(tmp_path, "split", {"Lockstep Q4_1, 2 ranks x 1 thread": runs})
    assert zero[-3:] == ["40", "100", "3.0"] and zero[1:7] == ["10.0"] * 6
    assert one[-3:] == ["34", "100", ""] and one[0].endswith("rank 1")


def test_products_have_onednns_time_over_ours(tmp_path):
    ours = {"format": "bf16", "threads": 1, "n": 1000, "k": 100, "m": 8, "bytes": 200000}
    quantized = {**ours, "format": "q4_1", "us": 4.0}
    figures = [{**ours, "us": us, "times": times}
               for us, times in ((8.0, 1.2), (10.0, 0.9), (16.0, 1.4))] + [quantized]
    head, bf16, q4 = tables(tmp_path, "products", figures)
    assert head == ["outputs x inputs", "GB/s", "M=8"]
    assert bf16 == ["1,000 x 100, bf16, 1 thread", "20", "80 (1.20x)"]
    assert q4 == ["1,000 x 100, q4_1, 1 thread", "50", "200"]


def test_the_cost_of_the_order_is_of_the_whole_step(tmp_path):
    figures = [{"ranks": 2, "rows": 8, "fixed_us": fixed, "free_us": 100.0, "step_us": 1000.0}
               for fixed in (110.0, 150.0, 120.0)]
    _, row = tables(tmp_path, "order", figures)
    assert row[0] == "2 ranks, 8 rows" and row[-1] == "+2.0 %"


def test_figures_of_older_scripts_are_not_read(tmp_path):
    (tmp_path / "ranks.json").write_text(json.dumps({"about": ABOUT, "figures": {"old": []}}))
    assert "One rank or two" not in report.markdown(tmp_path)


def test_tables_go_between_the_marks_and_name_their_plot(tmp_path, monkeypatch):
    document = tmp_path / "performance-x.md"
    document.write_text(f"before {report.MEASURED} old {report.END} after")
    monkeypatch.setattr(report, "document", lambda: document)
    monkeypatch.setattr(report, "plot", lambda results, to: to.write_text("plot"))
    report.write(tmp_path, f"![x]({report.PLOT})")
    assert document.read_text() == (f"before {report.MEASURED}\n\n![x](performance-x.svg)\n"
                                    f"{report.END} after")
    assert (tmp_path / "performance-x.svg").read_text() == "plot"


def test_guesses_have_ratios_of_pairs_and_means_with_and_without_loops(tmp_path):
    def request(off, on, repeated, **more):
        return {"tokens": 100.0, "repeated": repeated, "off": off, "on": on, "gain": on / off,
                "sampled_gain": 1.1, **more}
    run = {"requests": {"code": request(100.0, 400.0, 0.0, peer=50.0, over_peer=8.0),
                        "story": request(100.0, 100.0, 0.1, peer=50.0, over_peer=2.0),
                        "loop": request(100.0, 270.0, 0.5, peer=50.0, over_peer=5.4)},
           "at_once": {"1": {"off": 90.0, "on": 180.0, "gain": 2.0},
                       "8": {"off": 400.0, "on": 400.0, "gain": 1.0}},
           "compared": 9.0, "draft": 200.0, "accepted": 150.0}
    rows = tables(tmp_path, "speculation", [run])
    assert rows[1] == ["code", "100", "0 %", "100", "400", "4.00x", "1.10x", "50", "8.00x"]
    assert rows[4] == ["geometric mean", "", "", "100", "221", "2.21x", "1.10x", "50", "4.42x"]
    assert rows[5][0] == "of the 2 that repeat less than 25 %" and rows[5][5] == "2.00x"
    assert rows[6] == ["smallest", "", "", "", "", "1.00x", "1.10x", "", "2.00x"]
    assert rows[8] == ["1 at once", "90", "180", "2.00x"]
    text = report.markdown(tmp_path)
    assert "9 answers were compared" in text and "75 % of the guesses were right" in text


def test_guesses_without_a_peer_leave_its_columns_empty(tmp_path):
    request = {"tokens": 9.0, "repeated": 0.0, "off": 1.0, "on": 2.0, "gain": 2.0, "sampled_gain": 1.0}
    run = {"requests": {"code": request}, "at_once": {}, "compared": 1.0, "draft": 0.0, "accepted": 0.0}
    assert tables(tmp_path, "speculation", [run])[1][-2:] == ["-", "-"]


def test_an_answer_that_guesses_have_changed_ends_the_measurement():
    answers = guessing.Answers()
    reply = load.Reply(begin=0.0, arrivals=[1.0], tokens=3, text="one")
    answers.add("code", 0, reply)
    answers.add("code", 0.8, load.Reply(begin=0.0, arrivals=[1.0], tokens=3, text="another"))
    answers.add("code", 0, load.Reply(begin=2.0, arrivals=[3.0], tokens=3, text="one"))
    assert answers.compared == 1
    for tokens, text in ((4, "one"), (3, "two")):
        with pytest.raises(guessing.AnswersDiffer):
            answers.add("code", 0, load.Reply(begin=0.0, arrivals=[1.0], tokens=tokens, text=text))


@pytest.mark.parametrize("text,share", [("", 0.0), ("a b c d e f g h", 0.0), ("a b c d " * 3, 5 / 9)])
def test_what_is_repeated_is_counted_by_runs_of_words(text, share):
    assert guessing.repeated(text) == pytest.approx(share)
