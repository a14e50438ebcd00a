"""Checkpoints whose right answers are known by construction, tokenizers of a few words, and task
folders. Nothing here is random.

Every weight is 0 but these: a word's embedding points at its label's axis, norms are 1, and
attention copies the mean of the sentence (all scores are equal) or, in a tagger, nothing. A head
with an identity before it reads the axis. So a tagger answers each word with its label, and a
classifier answers with the label that most of the words of a sentence have.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WIDTH = 16
State = dict[str, Tensor]
Sentences = Sequence[Sequence[tuple[str, str]]]  # (word, tag) of each word

# family -> (module of transformers, prefix of its classes, what its configuration is called
# otherwise)
_BERT = {
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "hidden_size": WIDTH,
    "intermediate_size": 8,
    "max_position_embeddings": 64,
}
_FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", {**_BERT, "pad_token_id": 0}),
    "roberta": (
        "Roberta",
        {**_BERT, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "type_vocab_size": 1},
    ),
    "electra": ("Electra", {**_BERT, "embedding_size": WIDTH, "pad_token_id": 0}),
    "distilbert": (
        "DistilBert",
        {
            "n_layers": 1,
            "n_heads": 1,
            "dim": WIDTH,
            "hidden_dim": 8,
            "max_position_embeddings": 64,
            "pad_token_id": 0,
        },
    ),
}


def words_tokenizer(
    folder: Path,
    words: Sequence[str],
    pretokenizer: Any = None,
    added: Mapping[str, int] | None = None,
) -> None:
    """Write a tokenizer of whole words: SPECIAL, then `words`. Control and format characters give
    no subword, as in BERT. `added`: token -> id."""
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers import models as t

    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *dict.fromkeys(words)])}
    tokenizer = Tokenizer(t.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False
    )
    tokenizer.pre_tokenizer = pretokenizer or pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    text = json.loads(tokenizer.to_str())
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    text["added_tokens"] = [
        {"id": i, "content": word, "special": True, **flags} for i, word in enumerate(SPECIAL)
    ]
    text["added_tokens"] += [
        {"id": i, "content": word, "special": False, **flags} for word, i in (added or {}).items()
    ]
    (folder / "tokenizer.json").write_text(json.dumps(text), "utf-8")
    named = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64, **named}),
        "utf-8",
    )


def byte_tokenizer(
    folder: Path, words: Sequence[str], prefix_space: bool = False
) -> dict[str, int]:
    """Write a byte-level BPE that has merged each of `words` with a space before it, as RoBERTa's
    has. Returns the token of each " word"."""
    from tokenizers import Tokenizer, decoders, processors
    from tokenizers import models as t
    from tokenizers import pre_tokenizers as p

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    pieces = special + sorted(p.ByteLevel.alphabet())
    merges: list[tuple[str, str]] = []
    for word in words:
        whole = p.ByteLevel(add_prefix_space=True).pre_tokenize_str(word)[0][0]
        for end in range(2, len(whole) + 1):
            if (pair := (whole[: end - 1], whole[end - 1])) not in merges:
                merges.append(pair)
                pieces.append(whole[:end])
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(t.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = p.ByteLevel(add_prefix_space=prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), add_prefix_space=prefix_space
    )
    text = json.loads(tokenizer.to_str())
    flags = {
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
    text["added_tokens"] = [{"id": i, "content": word, **flags} for i, word in enumerate(special)]
    (folder / "tokenizer.json").write_text(json.dumps(text), "utf-8")
    named = {
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "cls_token": "<s>",
        "bos_token": "<s>",
        "sep_token": "</s>",
        "eos_token": "</s>",
    }
    said = {
        "tokenizer_class": "RobertaTokenizer",
        "add_prefix_space": prefix_space,
        **named,
        "mask_token": "<mask>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(said), "utf-8")
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    (folder / "merges.txt").write_text("".join(f"{a} {b}\n" for a, b in merges), "utf-8")
    return {
        word: vocabulary[p.ByteLevel(add_prefix_space=True).pre_tokenize_str(word)[0][0]]
        for word in words
    }


def weights(model: nn.Module, axes: Mapping[int, int], mixes: bool) -> None:
    """Set the weights of a tiny encoder with a head. `axes`: token -> the axis of its label.
    `mixes`: every position gets the mean of all."""
    for name, parameter in model.named_parameters():
        parameter.data.zero_()
        last = name.rpartition(".")[0].rpartition(".")[2]
        if "norm" in last.lower() and name.endswith("weight"):
            parameter.data.fill_(1.0)
        elif name.endswith("word_embeddings.weight"):
            for token, axis in axes.items():
                parameter.data[token, axis] = 4.0
        elif parameter.ndim == 2 and parameter.shape == (WIDTH, WIDTH):
            before = name.split(".")
            carries = (
                "value" in before
                or "v_lin" in before
                or "out_lin" in before
                or ("attention" in before and "dense" in before)
            ) and mixes
            head = before[0] == "classifier" or "pooler" in before or before[0] == "pre_classifier"
            if carries or head:
                parameter.data.copy_(torch.eye(WIDTH))
    top = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name in ("classifier", "classifier.out_proj")
    ][-1]
    top.weight.data.copy_(torch.eye(top.out_features, WIDTH))


def checkpoint(
    folder: Path,
    answers: Mapping[str, int],
    labels: Sequence[str] | None,
    token: bool,
    family: str = "bert",
    outputs: int = 0,
    added: Mapping[str, int] | None = None,
    **config: Any,
) -> Path:
    """A folder with a model that answers `answers`: word -> number of the output; `labels`: what
    its outputs are called (None: nothing is said)."""
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    words_tokenizer(folder, list(answers), added=added)
    tokens = {len(SPECIAL) + i: output for i, output in enumerate(dict.fromkeys(answers))}
    axes = {token: answers[word] for token, word in zip(tokens, answers, strict=True)}
    return _saved(
        transformers,
        folder,
        family,
        token,
        len(SPECIAL) + len(answers),
        axes,
        labels,
        outputs,
        config,
    )


def byte_checkpoint(
    folder: Path, answers: Mapping[str, int], labels: Sequence[str], prefix_space: bool = False
) -> Path:
    """A RoBERTa tagger over a byte-level BPE: a word with the space before it has its answer,
    pieces of words answer 0."""
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    tokens = byte_tokenizer(folder, list(answers), prefix_space)
    size = len(json.loads((folder / "vocab.json").read_text()))
    special = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    return _saved(
        transformers,
        folder,
        "roberta",
        True,
        size,
        {tokens[word]: output for word, output in answers.items()},
        labels,
        0,
        special,
    )


def _saved(
    library: Any,
    folder: Path,
    family: str,
    token: bool,
    size: int,
    axes: Mapping[int, int],
    labels: Sequence[str] | None,
    outputs: int,
    changes: Mapping[str, Any],
) -> Path:
    prefix, usual = _FAMILIES[family]
    names = [f"LABEL_{i}" for i in range(outputs)] if labels is None else list(labels)
    named = {
        "id2label": dict(enumerate(names)),
        "label2id": {name: i for i, name in enumerate(names)},
    }
    config = getattr(library, f"{prefix}Config")(vocab_size=size, **{**usual, **named, **changes})
    end = "ForTokenClassification" if token else "ForSequenceClassification"
    model = getattr(library, prefix + end)(config)
    weights(model, axes, mixes=not token)
    text = {**config.to_dict(), "architectures": [prefix + end]}
    if labels is None:
        text |= {"num_labels": outputs, "id2label": None, "label2id": None}
    (folder / "config.json").write_text(
        json.dumps({k: v for k, v in text.items() if v is not None}, default=str), "utf-8"
    )
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    return folder


def edit_weights(folder: Path, change: Callable[[State], State]) -> Path:
    """The folder with other tensors in its model.safetensors."""
    save_file(
        change(load_file(folder / "model.safetensors")),
        folder / "model.safetensors",
        {"format": "pt"},
    )
    return folder


def edit_json(path: Path, **changes: Any) -> None:
    """A JSON file with some of its fields changed; None takes a field out."""
    said = {**json.loads(path.read_text("utf-8")), **changes}
    path.write_text(json.dumps({k: v for k, v in said.items() if v is not None}), "utf-8")


def task_folder(
    folder: Path,
    files: Mapping[str, str | bytes],
    ending: str,
    kind: str = "sentence",
    **fields: Any,
) -> Path:
    """A task file and its data: `files`: "test/de" -> content; what is not there is the content of
    "train/en" (of another language: "train/LANGUAGE").

    Returns the path of task.json.
    """
    languages = dict.fromkeys(["en", *(name.rpartition("/")[2] for name in files)])
    for split in ("train", "dev", "test"):
        for code in languages:
            content = next(
                files[name]
                for name in (f"{split}/{code}", f"train/{code}", f"{split}/en", "train/en")
                if name in files
            )
            path = folder / split / f"{code}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    columns = {
        "sentence": {"text": "text", "label": "label"},
        "pair": {"text": "text", "second": "second", "label": "label"},
        "token": {"tokens": "tokens", "tags": "tags"},
    }
    said = {
        "name": "task",
        "kind": kind,
        "training_language": "en",
        "columns": columns[kind],
        "splits": {split: f"{split}/{{language}}{ending}" for split in ("train", "dev", "test")},
    }
    (folder / "task.json").write_text(json.dumps({**said, **fields}), "utf-8")
    return folder / "task.json"


def csv(rows: Sequence[tuple[str, ...]], *header: str, delimiter: str = ",") -> str:
    """Fields as they are, unquoted."""
    return "".join(delimiter.join(fields) + "\n" for fields in (header or ("text", "label"), *rows))


def conll(sentences: Sentences, between: str = "\t") -> str:
    """One word a line, a blank line after each sentence."""
    return "".join(
        "".join(f"{word}{between}{tag}\n" for word, tag in sentence) + "\n"
        for sentence in sentences
    )


def jsonl(rows: Sequence[Mapping[str, Any]]) -> str:
    """One object a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
