"""The student starts as the published body, moves only what ships, and takes up a killed training
to the same numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from sdq.midi import build, pretrain
from sdq.midi.batches import Batches
from sdq.midi.student import mean_of
from sdq.mini import checkpoints
from sdq.settings import UserError
from tests.helpers.small_body import PAIRS

PLAN = pretrain.Plan(
    steps=6,
    polish=4,
    pairs_per_step=5,
    english_per_step=2,
    learning_rate=0.02,
    warmup=2,
    word=1.0,
    longest=16,
    save_every=2,
)


@pytest.fixture
def data(words: build.Words) -> Batches:
    return Batches(PAIRS, words.tokenizer, words.table, words.fold, PLAN.longest, 5, 0)


def test_before_training_english_is_read_as_the_published_model_reads_it(
    body: Path, words: build.Words
) -> None:
    student, _ = build.start(words)
    texts = ["the dogs see a house", "old cat , dog"]
    coded = AutoTokenizer.from_pretrained(body)(texts, padding=True, return_tensors="pt")
    published = AutoModel.from_pretrained(body).eval()
    with torch.no_grad():
        wanted = published(**coded).last_hidden_state
        states, real = student.lower(
            words.tokenizer(texts, padding=True, return_tensors="pt").input_ids
        )
        got = student.upper(states, real)
        kept = student.upper(states, real, body=True)
    assert (real == coded["attention_mask"].bool()).all()
    torch.testing.assert_close(got[real], wanted[real], atol=1e-5, rtol=1e-4)
    assert torch.equal(got, kept)
    mean = mean_of(got, real)[1]
    torch.testing.assert_close(mean, wanted[1][real[1]].mean(0), atol=1e-5, rtol=1e-4)


def test_a_batch_says_which_english_a_word_stands_for(data: Batches, words: build.Words) -> None:
    read = words.tokenizer.convert_ids_to_tokens
    special = torch.tensor(words.tokenizer.all_special_ids)
    seen = 0
    for batch in map(data.batch, range(8)):
        width = batch.english.shape[1]
        assert batch.words.max() == len(batch.certain) - 1
        assert (batch.words[torch.isin(batch.foreign, special)] == -1).all()
        assert (batch.words[~torch.isin(batch.foreign, special)] >= 0).all()
        for row, ids in enumerate(batch.foreign):
            if read(ids.tolist())[1:3] != ["собака", "[SEP]"]:
                continue
            share = batch.stands_for[batch.words[row, 1]].reshape(-1, width)
            assert share.sum() == pytest.approx(1)
            assert share[row].sum() == pytest.approx(1)  # of its own translation
            assert read(batch.english[row].tolist())[1:3] == ["a", "dog"]
            # "a" stands nowhere else, so it is all that this word explains as well as "dog"
            assert share[row, 1] > 0
            assert share[row, 2] > 0
            assert share[row, [0, 3]].sum() == 0
            seen += 1
    assert seen


def test_the_aim_is_the_published_models_vector_of_the_translation(
    body: Path, data: Batches, words: build.Words
) -> None:
    student, _ = build.start(words)
    with torch.no_grad():
        for p in pretrain.trained(student).values():
            # not the published top any more
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    published, batch = AutoModel.from_pretrained(body).eval(), data.batch(3)

    def mean(states: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return torch.stack([s[i != 0].mean(0) for s, i in zip(states, ids, strict=True)])

    with torch.no_grad():
        mask = (batch.english != 0).long()
        wanted = mean(published(batch.english, mask).last_hidden_state, batch.english)
        own = [student.upper(*student.lower(ids)) for ids in (batch.foreign, batch.english)]
        few = PLAN.english_per_step
        got = torch.cat([mean(own[0], batch.foreign), mean(own[1], batch.english)[:few]])
        terms = pretrain.loss_of(student, batch, PLAN)
    cosine = torch.nn.functional.cosine_similarity(got, torch.cat([wanted, wanted[:few]]))
    assert terms["cosine"] == pytest.approx(1 - cosine.mean().item(), rel=1e-4)
    assert cosine[-few:].max() < 0.99


def test_in_scripts_without_spaces_every_piece_is_a_word(data: Batches, words: build.Words) -> None:
    at = [pair.text for pair in PAIRS]
    assert data.words[at.index("หมาหมา")].tolist() == [-1, 0, 1, -1]
    assert data.words[at.index("猫的猫")].tolist() == [-1, 0, 1, 2, -1]
    assert data.words[at.index("der hund und der hund")].tolist() == [-1, 0, 1, 2, 3, 4, -1]


def test_states_of_words_are_means_of_their_pieces() -> None:
    states = torch.arange(12.0).reshape(2, 3, 2)
    words = torch.tensor([[-1, 0, 0], [1, -1, 2]])
    expected = [[3, 4], [6, 7], [10, 11], [0, 0]]
    assert pretrain.word_states(states, words, 4).tolist() == expected


def test_training_moves_what_ships_and_nothing_else(
    data: Batches, words: build.Words, tmp_path: Path
) -> None:
    student, _ = build.start(words)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    package = student.rows.get_buffer("package").clone()
    with torch.no_grad():
        first = pretrain.loss_of(student, data.batch(0), PLAN)
    plan = replace(PLAN, steps=30, polish=30, polish_rate=0.02)
    pretrain.train(student, data, plan, tmp_path, until=30)
    with torch.no_grad():
        middle = pretrain.loss_of(student, data.batch(0), PLAN)
    pretrain.train(student, data, plan, tmp_path)
    with torch.no_grad():
        last = pretrain.loss_of(student, data.batch(0), PLAN)
    for name in ("cosine", "near", "word"):
        assert middle[name] < first[name]
    assert last["first"] < middle["first"], "what the last steps are for"
    moved = {
        name for name, value in student.state_dict().items() if not torch.equal(value, before[name])
    }
    ours = "model.embeddings.word_embeddings.ours"
    blocks = ("model.encoder.layer.2.", "model.encoder.layer.3.")
    assert ours in moved
    assert any(name.startswith(blocks[0]) for name in moved)
    assert all(name == ours or name.startswith(blocks) for name in moved)
    assert torch.equal(student.rows.get_buffer("package"), package)


def test_a_killed_training_goes_on_to_the_same_numbers(
    data: Batches, words: build.Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = pretrain.train(build.start(words)[0], data, PLAN, tmp_path / "whole")
    for until in (3, 8):  # in either part
        pretrain.train(build.start(words)[0], data, PLAN, tmp_path / "killed", until)
    log = tmp_path / "killed" / "log.jsonl"
    log.write_text(log.read_text() + json.dumps({"step": 9}) + "\n")  # told, but not kept
    again = pretrain.train(build.start(words)[0], data, PLAN, tmp_path / "killed")
    for name, value in pretrain.trained(whole).items():
        assert torch.equal(value, pretrain.trained(again)[name]), name
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["step"] for row in rows] == [3, 8, 10]
    assert "step 10 of 10  cosine" in capsys.readouterr().out


def test_work_of_another_plan_is_refused(tmp_path: Path) -> None:
    """It would go on at the rate of one plan from the weights of another."""
    texts = [("de", "Haus", "house")]
    settings = build.settings_of(PLAN)
    for _ in range(2):
        checkpoints.claim(tmp_path / "work", settings, texts)
    for other, rows, said in (
        (build.settings_of(replace(PLAN, steps=PLAN.steps + 1)), texts, "has another steps;"),
        (settings, [*texts, ("fr", "maison", "house")], "has another corpus;"),
        (settings | {"vocabulary": [1, 2, 3]}, texts, "has another vocabulary;"),
    ):
        with pytest.raises(UserError, match=said):
            checkpoints.claim(tmp_path / "work", other, rows)
    (tmp_path / "older").mkdir()
    (tmp_path / "older" / "alignment.npz").touch()
    with pytest.raises(UserError, match=r"must be empty or have settings\.json"):
        checkpoints.claim(tmp_path / "older", settings, texts)


def test_another_seed_draws_other_pairs(words: build.Words) -> None:
    def drawn(seed: int) -> list[list[int]]:
        data = Batches(PAIRS, words.tokenizer, words.table, words.fold, 16, 5, seed)
        return [data.draw(step).tolist() for step in range(4)]

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)


def test_the_learning_rate_rises_and_falls_to_nothing() -> None:
    plan = pretrain.Plan(steps=100, warmup=10, learning_rate=1.0, polish=50, polish_rate=0.5)
    rates = np.array([plan.rate(step) for step in range(100)])
    assert (np.diff(rates[:9]) > 0).all()
    assert (np.diff(rates[10:]) < 0).all()
    assert rates[-1] == pytest.approx(0.01)
    again = np.array([plan.rate(step) for step in range(100, 150)])
    assert (again[0], again.max(), again[-1]) == pytest.approx((0.05, 0.42, 0.01))


def test_the_first_token_counts_at_the_end_alone() -> None:
    plan = pretrain.Plan(steps=2, polish=1, cosine=5.0, word=3.0, first=7.0)
    terms = {name: torch.tensor(1.0) for name in ("cosine", "near", "word", "first")}
    assert [float(plan.total(terms, step)) for step in range(3)] == [9.0, 9.0, 16.0]
