"""A checkpoint's outputs and a task's labels are joined by name: against the rules of
transformers' run_glue and run_ner."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from sdq.data.batches import Encoded
from sdq.evaluate.predict import predict
from sdq.models.heads import answered
from sdq.models.label_matching import join, names_of, plain
from sdq.settings import UserError

WHERE = Path("config.json")
POOL = (
    "negative",
    "neutral",
    "positive",
    "entailment",
    "contradiction",
    "b-per",
    "i-per",
    "b-loc",
    "i-loc",
    "o",
    "sport",
    "straße",
    "été",
    "новости",
    "天气",
    "0",
    "1",
)


def run_glue(label_list: list[str], label2id: dict[str, int]) -> dict[int, int] | None:
    """The rule of examples/pytorch/text-classification/run_glue.py: place in the task's list -> the
    model's id; None where it ignores the model's names."""
    lowered = {name.lower(): i for name, i in label2id.items()}
    if sorted(lowered) != sorted(label_list):
        return None
    return {i: int(lowered[label_list[i]]) for i in range(len(label_list))}


def run_ner(label_list: list[str], id2label: dict[int, str]) -> list[str] | None:
    """The rule of examples/pytorch/token-classification/run_ner.py: the labels in the order of the
    model's ids; None where it ignores the model's names."""
    if sorted(id2label.values()) != sorted(label_list):
        return None
    return [id2label[i] for i in range(len(label_list))]


def written_otherwise(name: str, rng: random.Random) -> str:
    return rng.choice((name, name.upper(), name.title(), f" {name} ", f"{name.upper()}\t"))


@pytest.mark.parametrize("seed", range(5))
def test_labels_are_joined_as_run_glue_and_run_ner_do(seed: int) -> None:
    """A hundred random label sets each. Where these would ignore the model's names though some fit,
    the join is by name or it is refused."""
    rng, kinds = random.Random(seed), dict.fromkeys(("equal", "case", "none", "more", "some"), 0)
    for turn in range(100):
        kind = list(kinds)[turn % len(kinds)]
        labels = rng.sample(POOL, rng.randint(2, 9))
        others = [f"other {name}" for name in labels]
        if kind == "none":
            others = [f"LABEL_{i}" for i in range(len(labels))]
        head = {
            "equal": labels,
            "case": [written_otherwise(name, rng) for name in labels],
            "none": others,
            "more": labels + others[: rng.randint(1, len(others))],
            "some": labels[:-1] + rng.choice([[], others[:1], others]),
        }[kind]
        head = head if kind == "none" else rng.sample(head, len(head))
        id2label = dict(enumerate(head))
        label2id = {name: i for i, name in id2label.items()}
        if kind == "some":
            with pytest.raises(UserError, match="labels the model never learned") as caught:
                join(head, labels, WHERE, "do this")
            assert labels[-1] in str(caught.value)
            kinds[kind] += 1
            continue
        joint = join(head, labels, WHERE, "do this")
        glue, ner = (
            run_glue(labels, {name.strip(): i for name, i in label2id.items()}),
            run_ner(labels, id2label),
        )
        if kind in ("equal", "case"):
            if glue is not None:
                assert dict(enumerate(joint.order)) == glue
            if ner is not None:
                assert [labels[joint.order.index(i)] for i in range(len(labels))] == ner
            assert glue is not None or "straße" in labels  # str.lower leaves SS; casefold does not
            assert ner is not None or kind == "case"
            assert bool(joint.remark) == joint.reordered
        elif kind == "none":
            assert glue is None
            assert ner is None
            assert joint.order == tuple(range(len(labels)))
            assert "was assumed" in joint.remark
        else:
            assert [head[i] for i in joint.order] == [*labels, *joint.extra]
            assert set(joint.extra) == set(head) - set(labels)
            assert all(name in joint.remark for name in joint.extra[:8])
        kinds[kind] += 1
    assert all(count == 20 for count in kinds.values())


@pytest.mark.parametrize(
    ("names", "labels", "said"),
    [
        (
            ("Good", "GOOD", "bad"),
            ("good", "bad"),
            "names in id2label must differ by more than case",
        ),
        (("good", "Bad", "ＢＡＤ"), ("good", "bad"), "names in id2label must differ"),
        (("good", "bad"), ("good", "Good "), "labels of the task must differ"),
        (
            ("a", "b", "c"),
            ("a", "x", "y"),
            r"never learned: x, y; config.json has a, b, c: say under `labels`.*, or do this",
        ),
        (
            ("LABEL_0", "LABEL_1", "LABEL_2"),
            ("a", "b"),
            r"one output per label of the task \(2\), got 3",
        ),
        (("p", "q", "r"), ("a", "b"), "labels the model never learned: a, b"),
        (("LABEL_1", "LABEL_0"), ("a", "b"), "in their order"),
        (
            ("positive", "negative"),
            ("neg", "pos"),
            "never learned: neg, pos; .* has positive, negative: say under `labels`",
        ),
        (("p", "n"), ("5", "7"), "never learned: 5, 7"),
        (("p", "n"), ("1", "0"), "never learned: 1, 0"),
        (("0", "1"), ("10", "20"), "never learned: 10, 20"),
        (
            ("a", "b"),
            ('"x"', ",", "[", "]", ""),
            r'never learned: "\\"x\\"", ",", "\[", "\]", ""; config.json has a, b',
        ),
    ],
)
def test_what_cannot_be_joined(names: tuple[str, ...], labels: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        join(names, labels, WHERE, "do this")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("p", "n", "u"), ("0", "1", "2")),
        (("1 star", "2 stars"), ("1", "2")),
        (("0", "1"), ("no", "yes")),
        (("p", "n"), ("LABEL_0", "LABEL_1")),
        (("label_0", "label_1"), ("n", "p")),
        (("LABEL_0", "LABEL_1"), ("5", "7")),
    ],
)
def test_an_order_is_assumed_where_one_side_only_counts(
    names: tuple[str, ...], labels: tuple[str, ...]
) -> None:
    joint = join(names, labels, WHERE, "do this")
    assert joint.order == tuple(range(len(names)))
    assert "was assumed" in joint.remark


@pytest.mark.parametrize("order", [(2, 0, 1, *range(3, 30)), tuple(reversed(range(30)))])
def test_of_equal_logits_the_first_output_of_the_checkpoint_is_the_answer(
    order: tuple[int, ...],
) -> None:
    """As argmax before the head was permuted; topk gives another."""

    class Fixed(nn.Module):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            return SimpleNamespace(logits=rows[input_ids[:, 0]][:, list(order)])

    rows = torch.zeros(40, 30)
    rows[0, [4, 2, 9]] = 1.0
    data = Encoded([[i, 1] for i in range(40)], [[0]] * 40, False, 0)
    model = Fixed()
    setattr(model, "output_order", order)  # noqa: B010
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sdq.evaluate.predict._scoring", lambda model: {})
        answers, margins = predict(model, data)
    assert [order[answer] for (answer,) in answers] == rows.argmax(-1).tolist()
    assert margins == [0.0] * 40
    assert answered(nn.Identity(), rows).tolist() == rows.argmax(-1).tolist()


def test_names_are_compared_without_case_and_form() -> None:
    assert join(("STRASSE", "café", "x"), ("straße", "cafe\u0301 ", "x"), WHERE, "").order == (
        0,
        1,
        2,
    )
    assert plain("ﬁn ") == plain("FIN")
    # the very same names: nothing to choose
    assert join(("Good", "good"), ("good", "Good"), WHERE, "").order == (
        1,
        0,
    )
    assert join(
        [f"LABEL_{i}" for i in range(12)], sorted(f"LABEL_{i}" for i in range(12)), WHERE, ""
    ).order == (0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9)


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({}, ("LABEL_0", "LABEL_1")),
        ({"num_labels": 3}, ("LABEL_0", "LABEL_1", "LABEL_2")),
        ({"id2label": {"1": "b", "0": "a"}}, ("a", "b")),
        ({"id2label": {"0": "a", "1": "b"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}}, ("a", "b")),
        ({"label2id": {"b": 1, "a": 0}}, ("a", "b")),
        (
            {"label2id": {"LABEL_2": 2, "LABEL_0": 0, "LABEL_1": 1}},
            ("LABEL_0", "LABEL_1", "LABEL_2"),
        ),
        ({"label2id": {"c": 2, "a": 0, "b": 1}, "num_labels": 3}, ("a", "b", "c")),
        (
            {"label2id": {"LABEL_0": 0, "LABEL_1": 1}, "num_labels": 3},
            ("LABEL_0", "LABEL_1", "LABEL_2"),
        ),
        ({"id2label": {"0": 0, "1": True}}, ("0", "True")),
    ],
)
def test_what_the_outputs_are_called(config: dict[str, Any], names: tuple[str, ...]) -> None:
    assert names_of(config, WHERE) == names


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"id2label": {"a": 0, "b": 1}}, "the wrong way round"),
        ({"id2label": ["a", "b"]}, "id2label must map numbers to names"),
        ({"id2label": {}}, "id2label must map"),
        ({"id2label": {"x": "a"}}, "got the key 'x'"),
        ({"id2label": {"-1": "a", "0": "b"}}, "got the key '-1'"),
        ({"id2label": {"0.0": "a"}}, "got the key '0.0'"),
        ({"id2label": {"0": "a", "2": "b"}}, "1 has no name"),
        ({"id2label": {"1": "a", "2": "b"}}, "0 has no name"),
        ({"id2label": {"0": "a", "00": "b"}}, "0 is in it twice"),
        ({"id2label": {"0": None}}, "must be text"),
        ({"id2label": {"0": {"name": "a"}}}, "must be text"),
        ({"id2label": {"0": " "}}, "must be text"),
        (
            {"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 1, "b": 0}},
            "label2id must be id2label the other way round",
        ),
        (
            {"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1, "c": 2}},
            "label2id must be id2label",
        ),
        ({"id2label": {"0": "a"}, "label2id": {"a": "0"}}, "label2id must map names to numbers"),
        ({"id2label": {"0": "a"}, "label2id": "a"}, "label2id must map names to numbers"),
        (
            {"id2label": {"0": "a", "1": "b"}, "num_labels": 3},
            "num_labels must be the number of names",
        ),
        (
            {"label2id": {"a": 0, "b": 0}},
            "every number must be in label2id once .* 'a' and 'b' are both 0",
        ),
        (
            {"label2id": {"a": 0, "b": 2}},
            "label2id must name every output from 0 to 2 .* 1 has no name",
        ),
        ({"label2id": {" ": 0}}, "a name in label2id must be text"),
        (
            {"label2id": {"a": 0, "b": 1}, "num_labels": 3},
            "num_labels must be the number of names in label2id",
        ),
        ({"num_labels": 0}, "num_labels must be a whole number"),
        ({"num_labels": 1e9}, "num_labels must be a whole number"),
        ({"num_labels": "3"}, "num_labels must be a whole number"),
    ],
)
def test_names_that_say_nothing(config: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        names_of(config, WHERE)
    assert "config.json" in str(caught.value)
    assert "\n" not in str(caught.value)
