"""Heads of models, put into the order of the task's labels, in every family."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sdq.data.batches import encode
from sdq.data.task import Example, Task
from sdq.evaluate.predict import outcomes, predict
from sdq.models.heads import joined_, widened
from sdq.models.label_matching import Joint, join
from sdq.models.loading import load, start
from sdq.models.structure import remarks
from sdq.settings import UserError
from tests.helpers.architectures import ARCHITECTURES, VOCABULARY
from tests.helpers.heads import edited, logits, save

WHERE = Path("config.json")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_head_is_put_into_another_order_in_every_family(
    architecture: str, kind: str, tiny: Callable[..., nn.Module]
) -> None:
    """Also where the head's inner layer has as many outputs as there are labels."""
    for labels in (5, 24):
        model = tiny(architecture, kind, labels)
        before, order = logits(model), random.Random(labels).sample(range(labels), labels)
        other = {name: p.detach().clone() for name, p in model.named_parameters()}
        joined_(model, Joint(tuple(order)), [f"label {i}" for i in range(labels)], WHERE)
        assert torch.allclose(logits(model), before[..., order], atol=1e-5)
        changed = {
            name.rpartition(".")[0]
            for name, p in model.named_parameters()
            if not torch.equal(p, other[name])
        }
        assert len(changed) == 1


def task_of(labels: tuple[str, ...], kind: str = "sequence", metric: str = "accuracy") -> Task:
    rng, rows = random.Random(0), []
    for i in range(40):
        words = tuple(f"w{rng.randrange(3, VOCABULARY)}" for _ in range(rng.randint(1, 6)))
        targets = tuple(rng.choice(labels) for _ in (words if kind == "token" else words[:1]))
        rows.append(Example(str(i), "en", " ".join(words), words, targets))
    made: Any = kind
    return Task("made", made, labels, ("en",), "en", metric, "0" * 16, {"test": rows})


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [
        ("bert", "sequence"),
        ("roberta", "sequence"),
        ("distilbert", "token"),
        ("electra", "sequence"),
        ("xlmr", "token"),
    ],
)
def test_a_permuted_head_answers_as_the_other(
    architecture: str, kind: str, tiny: Callable[..., nn.Module], tokenizer: Any, tmp_path: Path
) -> None:
    labels, names = ("O", "B-A", "I-A"), ("i-a", "O", "B-A")
    task = task_of(labels, kind)
    plainly, turned = tiny(architecture, kind), tiny(architecture, kind)
    joined_(turned, Joint((2, 0, 1)), names, WHERE)
    results = []
    for model, called in ((plainly, labels), (turned, names)):
        loaded, words = load(save(model, called, tokenizer, tmp_path / called[0]), kind, labels)
        results.append(
            outcomes(
                task.splits["test"],
                *predict(loaded, encode(task.splits["test"], task, words)),
                task,
            )
        )
        assert loaded.config.id2label == dict(enumerate(labels))  # type: ignore[union-attr]
        assert ("put into the order" in " ".join(remarks(loaded))) == (called is names)
    exact = ["id", "tp", "predicted", "gold", "answer"]
    assert results[0][exact].equals(results[1][exact])
    assert results[0]["margin"].tolist() == pytest.approx(results[1]["margin"].tolist(), abs=1e-5)
    assert results[0]["answer"].nunique() > 1


def test_labels_that_the_task_lacks_are_never_right(
    tiny: Callable[..., nn.Module], tokenizer: Any, tmp_path: Path
) -> None:
    names = ("new one", "a", "B", "c")
    task = task_of(("b", "a"))
    model, words = load(
        save(tiny("bert", "sequence", 4), names, tokenizer, tmp_path), "sequence", task.labels
    )
    task = widened(task, model)
    assert task.outputs == ("b", "a", "new one", "c")
    table = outcomes(
        task.splits["test"], *predict(model, encode(task.splits["test"], task, words)), task
    )
    ids = tokenizer(
        [e.text for e in task.splits["test"]],
        padding=True,
        return_tensors="pt",
        return_token_type_ids=False,
    )
    with torch.no_grad():
        raw = (
            model.__class__.from_pretrained(tmp_path, attn_implementation="eager")(**ids)
            .logits.argmax(-1)
            .tolist()
        )  # type: ignore[attr-defined]
    assert table["answer"].tolist() == [{"B": "b"}.get(names[i], names[i]) for i in raw]
    beyond = table["answer"].isin(("new one", "c"))
    assert beyond.any()
    assert table.loc[beyond, "tp"].sum() == 0
    assert "can also answer new one, c" in " ".join(remarks(model))
    # answers to words are kept with a space between
    assert widened(replace(task, kind="token"), model).extra == (
        "new_one",
        "c",
    )
    with pytest.raises(UserError, match="ranks must be a number, it can also answer 'new one'"):
        widened(replace(task, metric="ndcg"), model)


@pytest.mark.parametrize(
    ("names", "labels", "extra"),
    [
        (("O", "B_PER", "B PER"), ("O", "B_PER"), ("B_PER_",)),
        (
            ("O", "B_PER_", "B_PER", "B PER", "B  PER "),
            ("O", "B_PER"),
            ("B_PER_", "B_PER__", "B_PER___"),
        ),
        (("O", "B_PER", "new one", "new_one"), ("O", "B_PER"), ("new_one", "new_one_")),
    ],
)
def test_no_other_output_is_counted_as_a_label(
    names: tuple[str, ...], labels: tuple[str, ...], extra: tuple[str, ...]
) -> None:
    model = nn.Linear(1, len(names))
    joint = join(names, labels, WHERE, "do this")
    setattr(model, "extra_labels", joint.extra)  # noqa: B010
    task = widened(replace(task_of(labels), kind="token"), model)
    assert task.extra == extra
    assert len(set(task.outputs)) == len(names)


def test_a_head_to_start_from_is_joined_too(
    tiny: Callable[..., nn.Module], tokenizer: Any, tmp_path: Path
) -> None:
    model: Any = tiny("bert", "sequence", 3)
    kept = model.classifier.weight.detach().clone()
    save(model, ("C", "a", "b"), tokenizer, tmp_path)
    joined: Any = start(tmp_path, "sequence", ("a", "b", "c"), 1)[0]
    assert torch.equal(joined.classifier.weight, kept[[1, 2, 0]])
    assert joined.config.id2label == {0: "a", 1: "b", 2: "c"}
    unknown: Any = start(tmp_path, "sequence", ("x", "y", "z"), 1)[0]
    assert torch.equal(unknown.classifier.weight, kept)
    assert unknown.config.id2label == {0: "x", 1: "y", 2: "z"}


def test_a_head_of_the_other_kind_is_refused(
    tiny: Callable[..., nn.Module], tokenizer: Any, tmp_path: Path
) -> None:
    """Of BERT both have the same names and shapes; config.json tells them apart."""
    save(tiny("bert", "sequence"), ("a", "b", "c"), tokenizer, tmp_path)
    with pytest.raises(
        UserError,
        match=r"must have a head for token classification, its head is another "
        r"\(BertForSequenceClassification\)",
    ):
        load(tmp_path, "token", ("a", "b", "c"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"problem_type": "regression"},
            "problem_type must be single_label_classification .* 'regression'; do this",
        ),
        (
            {"problem_type": "multi_label_classification"},
            "problem_type must be single_label_classification",
        ),
        ({"architectures": ["BertCRF"]}, "names BertCRF, which is none"),
        (
            {"architectures": ["BertMeanPoolingForSequenceClassification"]},
            "must be of a class of transformers, .* code of a model's own is not run",
        ),
        (
            {"auto_map": {"AutoModelForSequenceClassification": "own.Own"}},
            "'own.Own'.* in the place of AutoModelForSequenceClassification",
        ),
        ({"auto_map": {"AutoModel": "own.Own"}}, "in the place of AutoModel"),
        ({"auto_map": {"AutoConfig": "own.Own"}}, "in the place of AutoConfig"),
        (
            {"auto_map": {"AutoTokenizer": ["own.Own", None]}},
            r"\['own.Own'\].* in the place of AutoTokenizer",
        ),
        ({"auto_map": "own.Own"}, "auto_map must be an object"),
        (
            {
                "problem_type": "single_label_classification",
                "auto_map": {},
                "architectures": ["RobertaForSequenceClassification"],
            },
            "",
        ),
    ],
)
def test_a_head_that_would_be_scored_as_another_is_refused(
    changes: dict[str, Any],
    said: str,
    tiny: Callable[..., nn.Module],
    tokenizer: Any,
    tmp_path: Path,
) -> None:
    labels = ("a", "b", "c")
    edited(save(tiny("bert", "sequence"), labels, tokenizer, tmp_path), **changes)
    if not said:
        remarked = " ".join(remarks(load(tmp_path, "sequence", labels)[0]))
        assert (
            "names RobertaForSequenceClassification, model_type makes BertForSequenceClassification"
            in remarked
        )
        return
    with pytest.raises(UserError, match=said) as caught:
        load(tmp_path, "sequence", labels, "do this")
    assert "\n" not in str(caught.value)
    if "problem_type" in changes:  # of the head that is replaced
        start(tmp_path, "sequence", labels, 0)[0].save_pretrained(tmp_path)  # type: ignore[operator]
        load(tmp_path, "sequence", labels)
