"""`python -m sdq midi build --corpus DIR`: from text and the published body to what ships, stage by
stage, each resumable."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file

from sdq.data.registry import load_task
from sdq.io.files import replacing, write_text
from sdq.io.sealed import SEAL, seal_embedded
from sdq.midi import alignment, batches, cards, parts, pretrain, student, tokenizer, vocabulary
from sdq.midi.batches import Batches
from sdq.mini import checkpoints, corpus
from sdq.mini.build import say, tested
from sdq.mini.corpus import Pair
from sdq.models.composition import body, composed
from sdq.models.parts import save_task
from sdq.models.tensors import read_json
from sdq.pipeline.finetune import MIDI, told, train

PER_LANGUAGE = 9000  # pairs that IBM model 1 reads
SHORT = 60  # pieces of a sentence that it reads at most


class Words(NamedTuple):
    """What is known of the words before training: the tokenizer, the row of each of our ids [N],
    the table of IBM model 1 over folded ids, and the number in it of every id [P + N]."""

    tokenizer: Any
    row_of: list[int]
    table: alignment.Table
    fold: alignment.Ints


def build(
    folder: Path, work: Path, out: Path, plan: pretrain.Plan, until: int | None = None
) -> None:
    """Every stage; what `work` already holds is not computed again. Prints steps per second, ETA
    and the scores.

    folder: of the corpus
    work: of what is intermediate
    out: of the parts that ship
    plan: of the training, with the seed of everything
    until: the step to stop at, before anything is written to `out`; None: at the end
    """
    started = time.perf_counter()
    pairs = corpus.parallel(folder) + corpus.own()
    print(f"{len(pairs):,} pairs, our own frames among them", flush=True)
    everyday = corpus.english(folder)
    checkpoints.claim(work, settings_of(plan), [*pairs, *everyday])
    words = prepared(pairs, everyday, work, plan.seed)
    trained, config = start(words)
    data = Batches(
        pairs,
        words.tokenizer,
        words.table,
        words.fold,
        plan.longest,
        plan.pairs_per_step,
        plan.seed,
    )
    print(f"data ready after {time.perf_counter() - started:.0f} s", flush=True)
    pretrain.train(trained, data, plan, work / "pretrain", until)
    if until is not None and until < plan.every_step:
        return
    (out / SEAL).unlink(missing_ok=True)  # in the making; `finish` seals it again
    parts.save_encoder(trained, words.tokenizer, config, out / "encoder")
    first = len(words.fold) - len(words.row_of)
    counts = Counter(p.language for p in pairs)
    pieces = {
        code: sum(len(x) for x, p in zip(data.foreign, pairs, strict=True) if p.language == code)
        for code in sorted(counts)
    }
    built = {
        "pairs_by_language": counts,
        "pairs_by_source": Counter(p.source for p in pairs),
        "subwords_by_language": pieces | {"en": sum(map(len, data.english))},
        "package_pieces": first,
        "our_pieces": len(words.row_of),
        "our_rows": max(words.row_of) + 1,
        "minutes_of_pretraining": round((time.perf_counter() - started) / 60, 1),
    }
    write_text(out / "build.json", json.dumps(built, indent=1))
    finish(out, plan)


def settings_of(plan: pretrain.Plan) -> dict[str, Any]:
    """What decides which encoder is built, by name."""
    chosen = {
        "vocabulary": [vocabulary.SIZE, vocabulary.MARGIN, vocabulary.WHOLE_MARGIN],
        "weights of sources in the vocabulary": vocabulary.WEIGHT,
        "weights of sources in a step": batches.WEIGHT,
        "pairs of the alignment": [PER_LANGUAGE, SHORT],
    }
    return asdict(plan) | chosen


def finish(out: Path, plan: pretrain.Plan) -> None:
    """A fine-tuned model per task from the encoder in `out`; of each only its head and top blocks
    are kept. Writes the card."""
    started = time.perf_counter()
    (out / SEAL).unlink(missing_ok=True)
    base = composed("midi", "encoder", out)
    scored, trained = {}, {}
    for name, settings in MIDI.items():
        task = load_task(name)
        model, subwords, history = train(base, task, settings, plan.seed, say)
        trained[name] = told(history, settings)
        save_task(model, base, out / name, settings.frozen_blocks)
        scored[name] = tested(model, subwords, task)
    built = read_json(out / "build.json") | {
        "scores": scored,
        "trained": trained,
        "minutes_of_finetuning": round((time.perf_counter() - started) / 60, 1),
    }
    write_text(out / "build.json", json.dumps(built, indent=1))
    cards.write(out, plan)
    seal_embedded(out)


def prepared(pairs: Sequence[Pair], everyday: Sequence[Pair], work: Path, seed: int) -> Words:
    """Tokenizer and alignment, from `work` where it has them.

    pairs: the corpus
    everyday: English sentences beside it
    work: of what is intermediate
    seed: of what is drawn
    """
    published = tokenizer.package_vocabulary(body().parent)
    folder = work / "tokenizer"
    if not (folder / "tokenizer_config.json").exists():
        english: dict[str, dict[str, None]] = {}
        for pair in (*pairs, *everyday):
            english.setdefault(pair.source, {})[pair.english] = None
        ours = vocabulary.choose(
            published, pairs, {name: list(texts) for name, texts in english.items()}, seed=seed
        )
        tokenizer.save(tokenizer.assembled(published, ours), folder)
    subwords = tokenizer.load(folder)
    by_number = sorted(subwords.get_vocab().items(), key=lambda entry: entry[1])
    row_of = tokenizer.shared_rows([piece for piece, i in by_number if i >= len(published)])
    fold = np.concatenate([np.arange(len(published)), len(published) + np.array(row_of)])
    print(f"{len(row_of):,} pieces of our own with {max(row_of) + 1:,} rows", flush=True)
    path = work / "alignment.npz"
    if not path.exists():
        table = aligned(pairs, subwords, fold, len(published), seed)
        with replacing(path) as part, part.open("wb") as file:
            np.savez(file, **table._asdict())
    stored = np.load(path)
    table = alignment.Table(
        int(stored["base"]), stored["keys"], stored["given_english"], stored["given_foreign"]
    )
    print(f"{len(table.keys):,} pairs of pieces that occur together", flush=True)
    return Words(subwords, row_of, table, fold)


def aligned(
    pairs: Sequence[Pair], subwords: Any, fold: alignment.Ints, first: int, seed: int
) -> alignment.Table:
    """IBM model 1 over sentences of every language, everyday ones first.

    pairs: the corpus
    subwords: the tokenizer
    fold: id -> number in the table
    first: id of ours
    seed: of the draw of the others
    """
    rng = np.random.default_rng(seed)
    chosen: list[Pair] = []
    for code in sorted({pair.language for pair in pairs}):
        those = [pair for pair in pairs if pair.language == code]
        order = rng.permutation(len(those))
        rank = [those[i].source not in ("tatoeba", "ntrex") for i in order]
        chosen += [those[i] for i in order[np.argsort(rank, kind="stable")][:PER_LANGUAGE]]

    def numbers(texts: list[str]) -> list[alignment.Ints]:
        coded = subwords(texts, add_special_tokens=False, truncation=True, max_length=SHORT)
        return [fold[np.array(row, dtype=np.int64)] for row in coded["input_ids"]]

    english = numbers([pair.english for pair in chosen])
    return alignment.model1(
        numbers([pair.text for pair in chosen]),
        [ids[ids < first] for ids in english],  # an accented name may be cut into ours
    )


def start(words: Words) -> tuple[student.Student, Any]:
    """(the student before its first step, the configuration of the whole model)."""
    published, tensors = body().parent, load_file(body())
    table = tensors["embeddings.word_embeddings.weight"]
    settings = read_json(published / "config.json")
    config = student.configuration(settings, len(words.fold))
    for name in ("bos_token_id", "eos_token_id"):
        setattr(config, name, getattr(words.tokenizer, name))
    numbers = len(table) + np.arange(max(words.row_of) + 1)
    unknown = table[words.tokenizer.unk_token_id].numpy()
    rows = alignment.rows(words.table, table.numpy(), numbers, unknown)
    return student.from_body(tensors, config, torch.from_numpy(rows), words.row_of), config


def planned(seed: int) -> pretrain.Plan:
    """The plan that ships, with another seed."""
    return replace(pretrain.Plan(), seed=seed)
