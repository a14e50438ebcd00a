"""Every metric against the library that defines it, and through the same counts as all
statistics."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from seqeval.metrics import precision_score
from seqeval.metrics.sequence_labeling import get_entities
from sklearn.metrics import ndcg_score

from sdq.data.task import Example, Task
from sdq.data.taskfile import USUAL
from sdq.evaluate import metrics, statistics
from sdq.results import METRICS

UPOS = (
    "ADJ",
    "ADP",
    "AUX",
    "INTJ",
    "NOUN",
    "NUM",
    "PROPN",
    "PUNCT",
    "SCONJ",
    "VERB",
    "X",
    "O",
    "B-LOC",
    "I-LOC",
)
# (query, true label, predicted label) of each document, queries in any order
DOCUMENTS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=16
)


def _score(table: object) -> float:
    return statistics.score(*(table[c].to_numpy() for c in ("tp", "predicted", "gold")))  # type: ignore[index]


def _tagged(gold: list[tuple[str, ...]]) -> list[Example]:
    return [Example(f"s{i}", "de", "", tags, tags) for i, tags in enumerate(gold)]


def test_the_two_registries_agree() -> None:
    scores = {name for name, metric in METRICS.items() if metric.kinds}
    assert scores == set(metrics.SCORINGS)
    assert {kind for name in scores for kind in METRICS[name].kinds} == set(USUAL)
    assert all(kind in METRICS[usual].kinds for kind, usual in USUAL.items())


def test_names_inside_a_sentence() -> None:
    assert [METRICS[name].inside for name in ("accuracy", "f1", "token_accuracy", "ndcg")] == [
        "accuracy",
        "F1",
        "token accuracy",
        "nDCG",
    ]


@example([[("ADJ", "ADJ"), ("ADJ", "ADP")], [("X", "X"), ("ADJ", "ADJ")]])
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(UPOS), st.sampled_from(UPOS)), min_size=1, max_size=8),
        min_size=1,
        max_size=8,
    )
)
def test_precision_is_seqevals_also_where_it_is_odd(pairs: list[list[tuple[str, str]]]) -> None:
    gold, answers = (
        [tuple(g for g, _ in row) for row in pairs],
        [[a for _, a in row] for row in pairs],
    )
    tallied = metrics.tally(_tagged(gold), answers, [0.0] * len(gold), "precision")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spans = [
            (set(get_entities([*g])), set(get_entities(a)))
            for g, a in zip(gold, answers, strict=True)
        ]
    right, predicted = sum(len(g & a) for g, a in spans), sum(len(a) for _, a in spans)
    assert _score(tallied) == pytest.approx(right / predicted if predicted else 0)
    if "X" in {row[0] for row in [*gold, *answers]}:
        return  # where seqeval's joined sentences give another score, see span_precision
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = precision_score([list(row) for row in gold], answers)
    assert _score(tallied) == pytest.approx(expected)


def test_what_is_odd_about_it() -> None:
    gold = [("NOUN", "NOUN", "VERB")]
    assert _score(metrics.tally(_tagged(gold), [["NOUN", "NOUN", "VERB"]], [0.0], "precision")) == 1
    half = metrics.tally(_tagged(gold), [["NOUN", "VERB", "VERB"]], [0.0], "precision")
    right = metrics.tally(_tagged(gold), [["NOUN", "VERB", "VERB"]], [0.0], "token_accuracy")
    # neighbours of one tag are one span, and neither is right
    assert (_score(half), _score(right)) == (
        0,
        pytest.approx(2 / 3),
    )


def test_cut_words_are_wrong_tokens() -> None:
    assert metrics.token_accuracy([("A", "B", "C")], [["A", "B"]]) == (2, 3, 3)


@given(DOCUMENTS)
def test_ndcg_is_scikit_learns_mean_over_queries_of_two_documents_or_more(
    documents: list[tuple[int, int, int]],
) -> None:
    examples = [
        Example(f"d{i}", "en", "q", (), (str(label),), "d", f"q{query}")
        for i, (query, label, _) in enumerate(documents)
    ]
    tallied = metrics.tally(
        examples,
        [[str(guess)] for _, _, guess in documents],
        [float(i) for i in range(len(documents))],
        "ndcg",
    )
    expected = []
    for query in {q for q, _, _ in documents}:
        gold, guess = ([float(row[k]) for row in documents if row[0] == query] for k in (1, 2))
        if len(gold) > 1:
            expected.append(ndcg_score([gold], [guess]))
    assert _score(tallied) == pytest.approx(np.mean(expected) if expected else 0.0)
    assert set(tallied["id"]) == {f"q{q}" for q, _, _ in documents}
    assert tallied["margin"].tolist() == [
        min(i for i, row in enumerate(documents) if f"q{row[0]}" == id) for id in tallied["id"]
    ]


def test_queries_of_two_languages_are_not_one() -> None:
    examples = [
        Example(f"d{i}", code, "q", (), (label,), "d", "q1")
        for i, (code, label) in enumerate((("de", "3"), ("en", "0"), ("de", "0"), ("en", "1")))
    ]
    tallied = metrics.tally(examples, [["3"], ["0"], ["0"], ["1"]], [0.0] * 4, "ndcg")
    assert tallied[["language", "tp", "answer"]].values.tolist() == [
        ["de", 1.0, "3 0"],
        ["en", 1.0, "0 1"],
    ]


def test_statistics_of_a_ranking_resample_queries() -> None:
    rng = np.random.default_rng(0)
    table = metrics.tally(
        [
            Example(f"d{i}", "en", "", (), (str(label),), "", f"q{i // 5}")
            for i, label in enumerate(rng.integers(0, 5, 500))
        ],
        [[str(label)] for label in rng.integers(0, 5, 500)],
        [0.0] * 500,
        "ndcg",
    )
    assert len(table) == 100
    _, low, high = statistics.mean_interval([table], ["en"])
    half = 1.96 * table["tp"].std(ddof=1) / 10
    assert (low, high) == (
        pytest.approx(table["tp"].mean() - half, abs=0.5 * half),
        pytest.approx(table["tp"].mean() + half, abs=0.5 * half),
    )


@pytest.mark.parametrize(
    ("kind", "metric", "beside", "examples", "answers"),
    [
        (
            "token",
            "precision",
            ("token_accuracy", "f1"),
            _tagged([("NOUN", "VERB"), ("X",), ("ADJ", "X")]),
            [["NOUN", "X"], ["X"], []],
        ),
        ("sequence", "accuracy", (), [Example("a", "de", "", (), ("a b",))], [["a b"]]),
        (
            "sequence",
            "ndcg",
            ("accuracy",),
            [Example(f"d{i}", "de", "", (), (str(i % 3),), "", f"q{i % 2}") for i in range(5)],
            [[str(i % 2)] for i in range(5)],
        ),
    ],
)
def test_what_stands_beside_is_counted_from_the_same_answers(
    kind: str,
    metric: str,
    beside: tuple[str, ...],
    examples: list[Example],
    answers: list[list[str]],
) -> None:
    task = Task(
        "made", kind, ("0", "1", "2"), ("de",), "de", metric, "0", {"test": examples}, beside
    )  # type: ignore[arg-type]
    table = metrics.tally(examples, answers, [0.0] * len(examples), metric)
    tallied = metrics.secondary_outcomes(table, examples, task)
    assert set(tallied) == set(beside)
    for name, rows in tallied.items():
        assert rows.equals(metrics.tally(examples, answers, [0.0] * len(examples), name))
