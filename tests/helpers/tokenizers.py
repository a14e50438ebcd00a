"""Words and tags that small tokenizers are made for, and one that is made of what it will read: the
embedded one takes as long to load as a tiny model to train."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
PLAIN = (
    "Anna",
    "Smith",
    "visits",
    "Oslo",
    "Rome",
    ".",
    "don't",
    "é",
    "日本",
    "naïve",
    "x",
    "unforgettable",
    "3,5",
)
CORPUS = [" ".join(PLAIN), "Anna visits Oslo .", "don't visit Rome , Smith"] * 5


def word_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer that knows the words of the texts, with the special tokens of XLM-R."""
    made = Tokenizer(models.WordLevel(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    trainer = trainers.WordLevelTrainer(special_tokens=list(special.values()))
    made.train_from_iterator(texts, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, **special)
