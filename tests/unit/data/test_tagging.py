"""Which scheme tags are of, and which spans they make: as seqeval counts them, strictly and as the
CoNLL script does."""

from __future__ import annotations

import json
import random
import warnings
from pathlib import Path

import pytest
from seqeval import scheme as seqeval
from seqeval.metrics.sequence_labeling import get_entities

from sdq.data import check, tagging
from sdq.data.assemble import load
from sdq.data.schemes import metrics_for, recognised, settled
from sdq.data.tagging import NO_ANSWER, Tagging
from sdq.data.task import Task
from sdq.evaluate.metrics import tally
from sdq.settings import UserError

CASES = 500
KINDS = ("PER", "ORG", "O", "B-MED", "E_X")
LETTERS = {"IOB1": "BI", "IOB2": "BI", "IOBES": "BIES", "BILOU": "BILU"}


def sentences(letters: str, seed: int, written: str = "{letter}-{kind}") -> list[list[str]]:
    """Random tags, ill-formed ones among them: mostly of one kind, so that neighbours are often
    alike."""
    rng = random.Random(seed)
    recognised_as = []
    for _ in range(CASES):
        kinds = rng.sample(KINDS, rng.choice((1, 1, 2)))
        tags = [
            written.format(letter=rng.choice(letters), kind=rng.choice(kinds))
            for _ in range(rng.randint(0, 9))
        ]
        recognised_as.append([tag if rng.random() < 0.75 else "O" for tag in tags])
    return recognised_as


@pytest.mark.parametrize("scheme", LETTERS)
@pytest.mark.parametrize(
    ("delimiter", "suffix"), [("-", False), ("_", False), ("-", True), (".", True)]
)
def test_spans_are_those_of_seqevals_strict_mode(scheme: str, delimiter: str, suffix: bool) -> None:
    form = Tagging(scheme, delimiter, suffix)  # type: ignore[arg-type]
    written = f"{{kind}}{delimiter}{{letter}}" if suffix else f"{{letter}}{delimiter}{{kind}}"
    for tags in sentences(LETTERS[scheme], len(scheme) + 7 * suffix, written):
        theirs = seqeval.Tokens(tags, getattr(seqeval, scheme), suffix, delimiter).entities
        assert form.spans(tags) == {(e.tag, e.start, e.end - 1) for e in theirs}, tags


def test_io_spans_are_runs_of_a_tag() -> None:
    """seqeval has no IO: a run is what IOB1 makes of the tags with I- before each."""
    rng = random.Random(1)
    for _ in range(CASES):
        tags = [
            rng.choice(("O", "O", "PER", "ORGANIZATION", "E-MAIL"))
            for _ in range(rng.randint(0, 9))
        ]
        theirs = seqeval.Tokens(
            [tag if tag == "O" else f"I-{tag}" for tag in tags], seqeval.IOB1
        ).entities
        assert Tagging("IO").spans(tags) == {(e.tag, e.start, e.end - 1) for e in theirs}, tags


@pytest.mark.parametrize("suffix", [False, True])
def test_conlleval_is_seqevals_default_mode_for_any_tags(suffix: bool) -> None:
    rng = random.Random(2)
    pool = (
        "O",
        "B-PER",
        "I-PER",
        "E-PER",
        "S-PER",
        "I-LOC",
        "B",
        "I",
        "NOUN",
        "SYM",
        "3",
        "PER-B",
        "PER-I",
        "LOC-E",
        ".",
        "ORGANIZATION",
        "I-a-b",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval's, about tags that are none
        for _ in range(CASES):
            tags = rng.choices(pool[: rng.choice((5, len(pool)))], k=rng.randint(0, 9))
            assert Tagging("conlleval", suffix=suffix).spans(tags) == set(
                get_entities(tags, suffix)
            ), tags


@pytest.mark.parametrize("scheme", [*LETTERS, "IO", "conlleval"])
def test_a_word_without_an_answer_is_outside_at_its_place(scheme: str) -> None:
    for tags in sentences(LETTERS.get(scheme, "BI"), 3)[:100]:
        with_gaps = [NO_ANSWER if tag == "O" else tag for tag in tags]
        assert Tagging(scheme).spans(with_gaps) == Tagging(scheme).spans(tags)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["O B-PER I-PER O B-LOC"], "IOB2"),
        (["B-PER B-PER"], "IOB2"),
        (["I-PER I-PER B-PER O I-LOC"], "IOB1"),
        (["O I-PER I-LOC"], "IOB1"),
        (["B-PER E-PER O S-LOC", "B-PER I-PER E-PER"], "IOBES"),
        (["S-LOC O"], "IOBES"),
        (["B-PER M-PER E-PER O W-LOC"], "IOBES"),  # BMEWO
        (["B M E S B E"], "IOBES"),  # segmented words
        (["B-PER I-PER L-PER O U-LOC"], "BILOU"),
        (["U-LOC O"], "BILOU"),
        (["O PERSON ORGANIZATION"], "IO"),
        (["O E-MAIL PHONE"], "IO"),
        (["B_PER I_PER O"], "IOB2"),
        (["PER-B PER-I O"], "IOB2"),
        (["PER-B PER-E O LOC-S"], "IOBES"),
        (["B I O"], "IOB2"),
        (["0 1 2"], None),
        (["0 1 2 10 11 12"], None),
        (["NOUN VERB X PUNCT"], None),
        (["NOUN VERB O"], None),
        (["N O V V ^ , A V"], None),
        (["B-PER I-PER S-PER O"], None),  # singles marked, ends not
        (["I-PER E-PER O"], None),
        (["B-PER I-PER O [CLS]"], None),
        (["O O"], None),
        ([], None),
    ],
)
def test_schemes_are_recognised(tags: list[str], expected: str | None) -> None:
    recognised_as = recognised([row.split() for row in tags])
    assert (recognised_as and recognised_as.scheme) == expected
    assert metrics_for([row.split() for row in tags])[0] == ("f1" if expected else "token_accuracy")


@pytest.mark.parametrize("scheme", [*LETTERS, "IO"])
def test_well_formed_tags_of_a_scheme_are_recognised_and_none_is_lost(scheme: str) -> None:
    """Random spans, written down by the scheme: it is recognised, nothing is said against it, and
    the spans come out."""
    rng = random.Random(5)
    for _ in range(20):
        gold, rows = [], []
        for _ in range(30):
            tags, spans = list[str](), set()
            while len(tags) < 10:
                kind, n = rng.choice(("PER", "ORG")), rng.randint(1, 3)
                if rng.random() < 0.4 or (scheme == "IO" and tags and tags[-1] == kind):
                    tags.append("O")
                    continue
                joined = scheme == "IOB1" and tags and tags[-1].endswith(kind)
                spans.add((kind, len(tags), len(tags) + n - 1))
                inside = ["B" if joined or scheme != "IOB1" else "I", *"I" * (n - 1)]
                if scheme in ("IOBES", "BILOU"):
                    inside[-1] = (
                        ("E" if scheme == "IOBES" else "L")
                        if n > 1
                        else "S"
                        if scheme == "IOBES"
                        else "U"
                    )
                tags += [kind] * n if scheme == "IO" else [f"{letter}-{kind}" for letter in inside]
            rows.append(tags)
            gold.append(spans)
        recognised_as = recognised(rows)
        assert recognised_as is not None
        assert recognised_as.scheme == scheme
        assert scheme == "IO" or not recognised_as.said
        assert [recognised_as.spans(tags) for tags in rows] == gold


def test_ill_formed_tags_are_said_and_the_nearer_scheme_is_taken() -> None:
    recognised_as = recognised([["B-PER", "I-PER", "O"]] * 5 + [["O", "I-LOC", "O"]])
    assert recognised_as is not None
    assert recognised_as.scheme == "IOB2"
    assert (
        "ill-formed in IOB2 at 1 place, most often I-LOC at the beginning or after O (1)"
        in recognised_as.said[0]
    )
    assert "conlleval" in recognised_as.said[0]


def test_labels_that_a_model_may_give_count_for_the_scheme() -> None:
    assert recognised([["B-PER", "O"]], ["O", "B-PER", "I-PER", "E-PER", "S-PER"]).scheme == "IOBES"  # type: ignore[union-attr]


def test_bilou_is_strict_and_io_keeps_types_that_begin_with_o() -> None:
    gold = [["B-PER", "L-PER", "O"]]
    loose = [["B-PER", "I-PER", "O"]]
    assert Tagging("BILOU").spans(loose[0]) == set()
    assert recognised(gold + loose).said  # type: ignore[union-attr]
    assert Tagging("IO").spans(["ORGANIZATION", "ORGANIZATION", "O"]) == {("ORGANIZATION", 0, 1)}


# --- in a task


def made(folder: Path, rows: list[str], **fields: object) -> Path:
    for split in ("train", "dev", "test"):
        (folder / f"{split}.jsonl").write_text(
            "".join(
                json.dumps({"w": [f"w{k}" for k in range(len(r.split()))], "t": r.split()}) + "\n"
                for r in rows
            )
        )
    columns = {"tokens": "w", "tags": "t"}
    task = {
        "name": "made",
        "kind": "token",
        "training_language": "en",
        "columns": columns,
        "splits": {s: f"{s}.jsonl" for s in ("train", "dev", "test")},
    }
    (folder / "task.json").write_text(json.dumps(task | fields))
    return folder / "task.json"


def opened(folder: Path, rows: list[str], **fields: object) -> Task:
    return load(made(folder, rows, **fields), "made")


def test_the_usual_metric_follows_the_tags(tmp_path: Path) -> None:
    task = opened(tmp_path, ["B-PER I-PER O"])
    assert (task.metric, task.tagging) == ("f1", Tagging("IOB2"))
    recognised_as = check.check(task)
    assert "tags: IOB2: a span begins with B-" in check.summary(task, recognised_as)
    assert json.loads(check.as_json(task, recognised_as))["scheme"] == "IOB2"


@pytest.mark.parametrize(
    ("rows", "remedy"),
    [(["0 1 2"], '{"0": "O", "1": "B-PER"}'), (["NOUN VERB"], "rename them under `labels`")],
)
def test_tags_that_make_no_spans_are_scored_by_the_word_and_it_is_said(
    tmp_path: Path, rows: list[str], remedy: str
) -> None:
    task = opened(tmp_path, rows)
    assert task.metric == "token_accuracy"
    told = check.summary(task, check.check(task))
    assert "warning: The tags" in told
    assert remedy in told
    for asked in (
        {"metric": "f1"},
        {"metric": "precision"},
        {"metric": "token_accuracy", "beside": ["f1"]},
    ):
        with pytest.raises(UserError, match="counts spans") as error:
            opened(tmp_path, rows, **asked)
        assert remedy in str(error.value)
        assert "token_accuracy" in str(error.value)
    assert opened(tmp_path, rows, metric="token_accuracy").tagging == Tagging(None)
    assert (
        opened(tmp_path, rows, metric="precision", scheme="conlleval").tagging == tagging.CONLLEVAL
    )
    with pytest.raises(ValueError, match="spans need tags"):
        Tagging(None).spans(["0"])


def test_numbers_with_names_are_spans(tmp_path: Path) -> None:
    assert opened(
        tmp_path, ["1 2 0"], labels={"0": "O", "1": "B-PER", "2": "I-PER"}
    ).tagging == Tagging("IOB2")


def test_a_scheme_can_be_asked_for(tmp_path: Path) -> None:
    assert opened(tmp_path, ["I-PER B-PER O"], scheme="IOB1").tagging == Tagging("IOB1")
    assert opened(tmp_path, ["B-PER I-PER O"], scheme="conlleval").tagging == tagging.CONLLEVAL
    assert opened(tmp_path, ["PER-B PER-I O"], scheme="conlleval").tagging == Tagging(
        "conlleval", suffix=True
    )
    assert opened(tmp_path, ["NOUN VERB NOUN"], scheme="IO").tagging == Tagging("IO")
    with pytest.raises(UserError, match="`scheme` is IOB2"):
        opened(tmp_path, ["0 1 2"], scheme="IOB2")
    with pytest.raises(UserError, match="take it out"):
        opened(
            tmp_path, ["0 1 2"], scheme="IOB2", kind="sentence", columns={"text": "w", "label": "t"}
        )
    with pytest.raises(UserError, match="scheme"):
        opened(tmp_path, ["0 1 2"], scheme="IOBX")


@pytest.mark.parametrize("scheme", ["IOB1", "IOBES", "BILOU"])
def test_a_scheme_that_the_tags_are_not_of_is_said(tmp_path: Path, scheme: str) -> None:
    """Else F1 is 0 for a model that is always right, without a word."""
    task = opened(tmp_path, ["B-PER I-PER O"], scheme=scheme)
    assert task.tagging is not None
    assert task.tagging.spans(["B-PER", "I-PER", "O"]) != {("PER", 0, 1)}
    assert any(f"Tags are ill-formed in {scheme}" in said for said in task.remarks)


def test_names_that_would_part_an_answer_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="without spaces"):
        opened(tmp_path, ["1 0"], labels={"0": "O", "1": "B-big person"})
    with pytest.raises(UserError, match="stands for a word without an answer"):
        settled("", (), None, [["O", NO_ANSWER]], ["O", NO_ANSWER], "made")


def test_the_scheme_reaches_the_counts(tmp_path: Path) -> None:
    task = opened(tmp_path, ["B-PER L-PER O U-LOC"])
    answers = [["B-PER", "I-PER", "O", "U-LOC"]]
    strict = tally(task.splits["test"], answers, [0.0], "f1", task.tagging)
    assert strict[["tp", "predicted", "gold"]].values.tolist() == [[1, 1, 2]]
    # leniently
    assert tally(task.splits["test"], answers, [0.0], "f1")[["predicted"]].values.tolist() == [[2]]


@pytest.mark.parametrize("dash", "\u2010\u2011\u2012\u2013\u2212+~")
def test_a_dash_that_looks_like_one_makes_no_runs_of_spans(dash: str) -> None:
    assert recognised([(f"B{dash}PER", f"I{dash}PER", "O", f"B{dash}LOC")]) is None
