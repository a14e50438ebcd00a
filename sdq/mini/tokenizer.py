"""A SentencePiece-style unigram tokenizer in the shape that XLM-R's tokenizer class loads."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from tokenizers.trainers import UnigramTrainer
from transformers import PreTrainedTokenizerFast

from sdq.mini.corpus import SOURCE_WEIGHT, Pair

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def _sample(pairs: list[Pair], alpha: float, budget: int, seed: int) -> list[str]:
    """Sentences of all languages, about `budget`, those of a language ~ share^alpha."""
    by_language: dict[str, dict[str, str]] = defaultdict(dict)
    for pair in pairs:
        by_language[pair.language].setdefault(pair.text, pair.source)
        by_language["en"].setdefault(pair.english, pair.source)
    weights = {code: len(texts) ** alpha for code, texts in sorted(by_language.items())}
    rng = random.Random(seed)
    sample: list[str] = []
    for code, weight in weights.items():
        texts, sources = zip(*sorted(by_language[code].items()), strict=True)
        wanted = int(budget * weight / sum(weights.values()))
        sample += rng.choices(texts, [SOURCE_WEIGHT.get(s, 1.0) for s in sources], k=wanted)
    return sample


def train(
    pairs: list[Pair],
    folder: Path,
    vocabulary: int,
    alpha: float = 0.5,
    budget: int = 160_000,
    seed: int = 0,
) -> None:
    """Train a unigram tokenizer on sentences drawn with p(language) ~ share^alpha, and save it.

    folder: is written into
    alpha: 0: languages alike, 1: as they are
    seed: of the draw
    pairs: the sentences, with their translations
    vocabulary: how many pieces it gets
    budget: how many sentences are drawn
    """
    sample = _sample(pairs, alpha, budget, seed)
    tokenizer = Tokenizer(Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(_spaces(), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Digits(individual_digits=True)]
    )
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(
        sample,
        UnigramTrainer(
            vocab_size=vocabulary - 1,
            special_tokens=SPECIAL,
            unk_token="<unk>",
            max_piece_length=16,
            show_progress=False,
        ),
    )
    tokenizer.add_special_tokens(["<mask>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=128,
        padding_side="right",
    )
    fast.save_pretrained(folder)


def _spaces() -> Any:
    from tokenizers import Regex

    return Regex(r" {2,}")


def load(folder: Path) -> PreTrainedTokenizerFast:
    """The trained tokenizer, as any user's AutoTokenizer gives it."""
    from transformers import AutoTokenizer

    loaded: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(folder)  # type: ignore[assignment]
    return loaded
