"""Answers belong to their words: against a computation of its own from raw word ids, and words
given apart keep their space."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from seqeval.scheme import IOB2, Tokens
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForTokenClassification,
    BertTokenizer,
    RobertaTokenizer,
)

from sdq.analyses.word_spans import spans
from sdq.data import check
from sdq.data.batches import encode
from sdq.data.pieces import lead_with_space_
from sdq.data.registry import load_task
from sdq.data.tagging import NO_ANSWER, Tagging
from sdq.data.task import Example, Task
from sdq.evaluate.metrics import secondary_outcomes
from sdq.evaluate.predict import NONE, outcomes, predict, scores, secondary_scores
from sdq.jobs.prediction import _row
from sdq.models.loading import tokenizer_of
from sdq.results import Report
from sdq.store import Store
from tests.helpers.tokenizers import CORPUS, LABELS, PLAIN

DOCUMENTS = 1000  # of each of two tokenizers
LONGEST = 12
# of no or of strange subwords
NOTHING = (
    "",
    "\u200e",
    "\u200f",
    "\u200b",
    "\u200e\u200e",
    "\u2060",
    "\ufeff",
)


def wordpiece(folder: Path) -> Path:
    """A BERT tokenizer, which throws letters without width away."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = (
        normalizers.BertNormalizer(lowercase=False),
        pre_tokenizers.BertPreTokenizer(),
    )
    made.train_from_iterator(
        CORPUS,
        trainers.WordPieceTrainer(
            vocab_size=120,
            special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
            show_progress=False,
        ),
    )
    BertTokenizer(vocab=made.get_vocab(), do_lower_case=False).save_pretrained(folder)
    return folder


def byte_level(folder: Path) -> Path:
    """RoBERTa's kind, which takes a word without a space before it for the end of another."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=330, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    model = json.loads(made.to_str())["model"]
    RobertaTokenizer(
        vocab=model["vocab"], merges=[tuple(m) for m in model["merges"]]
    ).save_pretrained(folder)
    return folder


def tagger(size: int) -> nn.Module:
    torch.manual_seed(3)
    labels = dict(enumerate(LABELS))
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "initializer_range": 0.5,
    }
    return BertForTokenClassification(
        BertConfig(vocab_size=size, max_position_embeddings=32, id2label=labels, **sizes)
    ).eval()


def documents(seed: int) -> list[Example]:
    rng = random.Random(seed)
    aligned = []
    for i in range(DOCUMENTS):
        words = tuple(
            rng.choice(PLAIN) if rng.random() < 0.75 else rng.choice(NOTHING)
            for _ in range(rng.randint(1, 9))
        )
        aligned.append(
            Example(
                f"{i:06d}",
                rng.choice(("de", "en", "th")),
                " ".join(words),
                words,
                tuple(rng.choice(LABELS) for _ in words),
            )
        )
    return aligned


def task_of(examples: list[Example]) -> Task:
    return Task(
        "made",
        "token",
        LABELS,
        ("de", "en", "th"),
        "en",
        "f1",
        "0",
        {"train": [], "dev": [], "test": examples},
        ("token_accuracy",),
        LONGEST,
        Tagging("IOB2"),
    )


@torch.inference_mode()
def by_hand(
    model: nn.Module, tokenizer: Any, examples: list[Example]
) -> tuple[dict[tuple[str, int], str], dict[str, list[int]]]:
    """((id, word) -> answer, language -> [tp, predicted, gold spans, right words, words]), from raw
    word ids and argmax alone."""
    given: dict[tuple[str, int], str] = {}
    for start in range(0, len(examples), 100):
        some = examples[start : start + 100]
        coded = tokenizer(
            [list(e.words) for e in some],
            is_split_into_words=True,
            truncation=True,
            max_length=LONGEST,
            padding=True,
            return_tensors="pt",
        )
        best = model(
            input_ids=coded["input_ids"], attention_mask=coded["attention_mask"]
        ).logits.argmax(-1)
        for row, example in enumerate(some):
            # the first subword is written last
            for place, word in reversed(list(enumerate(coded.word_ids(row)))):
                if word is not None:
                    given[example.id, word] = LABELS[int(best[row, place])]
    counts: dict[str, list[int]] = defaultdict(lambda: [0] * 5)
    for e in examples:
        answers = [given.get((e.id, k)) for k in range(len(e.words))]
        ours, gold = (
            {(s.tag, s.start, s.end) for s in Tokens([t or "O" for t in tags], IOB2).entities}
            for tags in (answers, e.targets)
        )
        add = (
            len(ours & gold),
            len(ours),
            len(gold),
            sum(a == g for a, g in zip(answers, e.targets, strict=True)),
            len(e.words),
        )
        counts[e.language] = [a + b for a, b in zip(counts[e.language], add, strict=True)]
    return given, counts


@pytest.mark.parametrize(
    ("make", "options"), [(wordpiece, {}), (byte_level, {"add_prefix_space": True})]
)
def test_two_thousand_documents_are_scored_as_by_hand(
    make: Callable[[Path], Path], options: dict[str, Any], tmp_path: Path
) -> None:
    examples = documents(len(options))
    folder = make(tmp_path)
    theirs, ours = (
        AutoTokenizer.from_pretrained(folder, **options),
        tokenizer_of(folder, 32, apart=True),
    )
    model, task = tagger(len(ours)), task_of(examples)
    given, counts = by_hand(model, theirs, examples)
    data = encode(examples, task, ours)
    answers, margins = predict(model, data)
    for e, row in zip(examples, answers, strict=True):
        assert [None if i == NONE else LABELS[i] for i in row] == [
            given.get((e.id, k)) for k in range(len(e.words))
        ]
    silent = sum(i == NONE for row in answers for i in row)
    assert silent > 300  # words of nothing, and words behind the cut
    assert data.cut > 50
    table = outcomes(examples, answers, margins, task)
    by_tag, told = scores(table, task), secondary_scores(table, examples, task)["token_accuracy"]
    tokens = secondary_outcomes(table, examples, task)["token_accuracy"]
    for code, (tp, predicted, gold, right, words) in counts.items():
        assert table[table["language"] == code][["tp", "predicted", "gold"]].sum().tolist() == [
            tp,
            predicted,
            gold,
        ]
        assert tokens[tokens["language"] == code][["tp", "gold"]].sum().tolist() == [right, words]
        assert by_tag.by_language[code] == 2 * tp / (predicted + gold)
        assert told.by_language[code] == 2 * right / (2 * words)
    for e, answer in zip(examples, table["answer"], strict=True):
        # one entry per word, also of those without an answer
        assert len(answer.split()) == len(e.words)


def test_answers_stay_with_their_words_in_subsets(tmp_path: Path) -> None:
    examples = documents(5)[:40]
    tokenizer = tokenizer_of(wordpiece(tmp_path), 32, apart=True)
    model, data = tagger(len(tokenizer)), encode(examples, task_of(examples), tokenizer)
    whole = predict(model, data)[0]
    assert predict(model, data.some([7, 3, 31]))[0] == [whole[7], whole[3], whole[31]]
    assert predict(model, data.some([7]).followed_by(data.some([3])))[0] == [whole[7], whole[3]]
    for i, e in enumerate(examples):  # the groups of tokens that attributions are summed over
        words = spans(data, i, tokenizer, e)
        assert [word for word, _ in words] == [
            e.words[k] for k in range(len(e.words)) if whole[i][k] != NONE
        ]


def test_a_typed_word_without_a_subword_has_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sdq.jobs.prediction

    tokenizer = tokenizer_of(wordpiece(tmp_path), 32, apart=True)
    model, task = tagger(len(tokenizer)), task_of([])
    report = Report.model_construct(run="r", recipe={}, model="m", task="made", method="FP32")
    store: Any = type(
        "Kept",
        (),
        {
            "report": lambda self, run: report,
            "weights": lambda self, report: None,
            "made_of": lambda *_: None,
        },
    )()
    for name, value in (
        ("task_of", lambda name: task),
        ("unreplaced", lambda *_: "made"),
        ("_model", lambda *_: model),
        ("_teacher", lambda *_: (model, tokenizer)),
    ):
        monkeypatch.setattr(sdq.jobs.prediction, name, value)
    row = _row("Anna \u200e visits", "r", store)
    assert len(row["answers"]) == len(row["shares"]) == len(row["words"]) == 3
    assert (row["answers"][1], row["shares"][1]) == (NO_ANSWER, None)
    assert row["answers"][0] != NO_ANSWER


@pytest.mark.slow
def test_words_and_answers_of_the_embedded_task_line_up_as_they_did() -> None:
    """Every word of the embedded test set has a subword, so that shipped runs hold one answer per
    word."""
    task = load_task("slots", "test")
    sizes = {(e.id, e.language): len(e.words) for e in task.splits["test"]}
    store = Store.default()
    runs = [r for r in store.finished() if r.task == "slots"]
    assert runs
    for report in runs[:3]:
        table = store.sentences(report.run)
        assert [len(row.answer.split(" ")) for row in table.itertuples()] == [
            sizes[row.id, row.language] for row in table.itertuples()
        ]
    assert not lead_with_space_(Tokenizer.from_file(str(check.TOKENIZER)), "mini")
