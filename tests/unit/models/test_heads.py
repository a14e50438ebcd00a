"""A checkpoint's head and a task's labels are joined by name: against the rules of transformers'
run_glue and run_ner, and in every family."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import nn
from transformers import PreTrainedTokenizerFast

from sdq.data.batches import Encoded, encode
from sdq.data.task import Example, Task
from sdq.evaluate.predict import outcomes, predict
from sdq.models.heads import (
    Joint,
    answered,
    join,
    joined_,
    loading_remarks,
    names_of,
    plain,
    widened,
)
from sdq.models.loading import load, remarks, start
from sdq.settings import UserError
from tests.helpers.architectures import ARCHITECTURES, VOCABULARY

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
            assert bool(joint.remark) == joint.moved
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
    assert join(("Good", "good"), ("good", "Good"), WHERE, "").order == (
        1,
        0,
    )  # the very same names: nothing to choose
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


# --- models


def logits(model: nn.Module) -> torch.Tensor:
    ids = torch.tensor([[2, 7, 9, 30, 11], [2, 40, 5, 6, 8]])
    with torch.no_grad():
        return torch.as_tensor(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits)


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


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    made = Tokenizer(
        WordLevel(
            {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, **{f"w{i}": i for i in range(3, VOCABULARY)}},
            unk_token="[UNK]",
        )
    )
    made.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]"
    )


def save(model: Any, names: tuple[str, ...], tokenizer: Any, folder: Path) -> Path:
    model.config.id2label, model.config.label2id = (
        dict(enumerate(names)),
        {name: i for i, name in enumerate(names)},
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


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
    assert widened(replace(task, kind="token"), model).extra == (
        "new_one",
        "c",
    )  # answers to words are kept with a space between
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


def edited(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    said = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in said.items() if value is not None}))


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


def test_a_tokenizer_with_code_of_its_own_is_refused(
    tiny: Callable[..., nn.Module], tokenizer: Any, tmp_path: Path
) -> None:
    folder = save(tiny("bert", "sequence"), ("a", "b", "c"), tokenizer, tmp_path)
    path = folder / "tokenizer_config.json"
    path.write_text(
        json.dumps(
            {**json.loads(path.read_text()), "auto_map": {"AutoTokenizer": ["own.Own", "own.Fast"]}}
        )
    )
    with pytest.raises(
        UserError,
        match=r"tokenizer_config.json puts .*'own.Own', 'own.Fast'.* in the place of AutoTokenizer",
    ):
        load(folder, "sequence", ("a", "b", "c"))


_OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "xmod": (
        {
            "languages": ["en_XX", "de_DE"],
            "default_language": "de_DE",
            "adapter_reduction_factor": 2,
        },
        "needs lang_ids too",
    ),
    "layoutlm": ({}, "needs bbox too"),
    "longformer": (
        {"attention_window": 4, "sep_token_id": 3},
        "must have one row per token, .* has 4 x 2 x 24",
    ),
    "funnel": (
        {"block_sizes": [1, 1], "d_model": 24, "n_head": 2, "d_head": 12, "d_inner": 40},
        "must have one row per token",
    ),
    "xmod of one language": (
        {"languages": ["en_XX"], "default_language": "en_XX", "adapter_reduction_factor": 2},
        "",
    ),
    "esm": ({"mask_token_id": 4, "token_dropout": True, "position_embedding_type": "rotary"}, ""),
}


@pytest.mark.parametrize("name", _OTHERS)
def test_models_that_need_more_than_a_text_or_have_no_row_per_token(
    name: str, tokenizer: Any, tmp_path: Path
) -> None:
    import transformers

    changes, said = _OTHERS[name]
    sizes = {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 40,
        "max_position_embeddings": 48,
    }
    sizes = {} if name == "funnel" else sizes
    config = transformers.AutoConfig.for_model(
        name.split()[0], vocab_size=VOCABULARY, pad_token_id=0, num_labels=3, **{**sizes, **changes}
    )
    made = transformers.AutoModelForSequenceClassification.from_config(config)
    folder = save(made, ("a", "b", "c"), tokenizer, tmp_path)
    if said:
        with pytest.raises(UserError, match=said):
            load(folder, "sequence", ("a", "b", "c"))
    else:
        load(folder, "sequence", ("a", "b", "c"))


def test_a_tokenizer_without_an_unknown_token_is_refused(
    tiny: Callable[..., nn.Module], tokenizer: Any, tmp_path: Path
) -> None:
    """Of any kind, also where the vocabulary has the usual letters."""
    folder = save(tiny("bert", "sequence"), ("a", "b", "c"), tokenizer, tmp_path)
    path = folder / "tokenizer.json"
    text = json.loads(path.read_text())
    words = ["[PAD]", "[UNK]", "[CLS]", "a", "1"]
    ids = {word: i for i, word in enumerate(words)}
    for model in (
        {"type": "WordLevel", "vocab": ids, "unk_token": "<nope>"},
        {
            "type": "Unigram",
            "vocab": [[word, -1.0] for word in words],
            "unk_id": None,
            "byte_fallback": False,
        },
        {
            "type": "WordPiece",
            "vocab": ids,
            "unk_token": "<nope>",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
        },
    ):
        path.write_text(json.dumps(text | {"model": model}))
        with pytest.raises(UserError, match=r"no token for what its vocabulary lacks; .*unk_token"):
            load(folder, "sequence", ("a", "b", "c"))


def test_label2id_alone_names_the_outputs(
    tiny: Callable[..., nn.Module], tokenizer: Any, tmp_path: Path
) -> None:
    folder = save(tiny("bert", "sequence", 3), ("a", "b", "c"), tokenizer, tmp_path)
    before = load(folder, "sequence", ("a", "b", "c"))[0]
    edited(folder, id2label=None, label2id={"c": 2, "a": 0, "b": 1})
    model: Any = load(folder, "sequence", ("c", "a", "b"))[0]
    assert model.config.id2label == {0: "c", 1: "a", 2: "b"}
    assert torch.equal(logits(model), logits(before)[:, [2, 0, 1]])


def without(folder: Path, *names: str) -> None:
    path = folder / "model.safetensors"
    kept = {name: t for name, t in load_file(path).items() if name not in names}
    assert len(kept) + len(names) == len(load_file(path))
    save_file(kept, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("architecture", "gone", "said"),
    [
        ("bert", ("classifier.bias",), "a whole head for .*, its weights lack classifier.bias; do"),
        (
            "bert",
            ("bert.pooler.dense.weight", "bert.pooler.dense.bias"),
            "its weights lack bert.pooler.dense.bias, bert.pooler.dense.weight; do",
        ),
        ("roberta", ("classifier.out_proj.bias",), "its weights lack classifier.out_proj.bias; do"),
        ("distilbert", ("pre_classifier.weight",), "its weights lack pre_classifier.weight; do"),
        (
            "bert",
            ("classifier.bias", "classifier.weight"),
            "it is a base model: its weights lack classifier.bias, classifier.weight; do",
        ),
        (
            "roberta",
            ("classifier.out_proj.bias", "classifier.out_proj.weight"),
            "it is a base model: its weights lack classifier.out",
        ),
    ],
)
def test_what_a_head_lacks_is_named(
    architecture: str,
    gone: tuple[str, ...],
    said: str,
    tiny: Callable[..., nn.Module],
    tokenizer: Any,
    tmp_path: Path,
) -> None:
    folder = save(tiny(architecture, "sequence"), ("a", "b", "c"), tokenizer, tmp_path)
    without(folder, *gone)
    with pytest.raises(UserError, match=said):
        load(folder, "sequence", ("a", "b", "c"), "do this")
    remarked = " ".join(loading_remarks(start(folder, "sequence", ("a", "b", "c"), 0)[0]))
    whole = "base model" in said
    assert (gone[0] in remarked) is not whole, "a new head is what a base model gets"


def test_a_config_with_a_key_twice_is_refused(
    tiny: Callable[..., nn.Module], tokenizer: Any, tmp_path: Path
) -> None:
    folder = save(tiny("bert", "sequence"), ("a", "b", "c"), tokenizer, tmp_path / "model")
    text = json.dumps(json.loads((folder / "config.json").read_text()))
    for old, new, said in (
        ('"0": "a"', '"0": "b", "0": "a"', "name '0' twice"),
        ('"layer_norm_eps": 1e-12', '"layer_norm_eps": NaN', "NaN"),
        ("1e-12", "1e999", "too large"),
    ):
        assert old in text
        copy = Path(shutil.copytree(folder, tmp_path / said))
        (copy / "config.json").write_text(text.replace(old, new))
        with pytest.raises(UserError, match=f"config.json must be JSON text, it .*{said}"):
            load(copy, "sequence", ("a", "b", "c"))
