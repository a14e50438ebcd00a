"""Multilingual encoders worth starting from: size, licence, languages, and where each figure comes
from. Needs no torch.

None has a head: each is fine-tuned first (`python -m sdq finetune`).
"""

from __future__ import annotations

from sdq.settings import Settings


class Known(Settings):
    """A model of the Hub. `parameters`: numbers in the encoder without a head; `size`: bytes of its
    safetensors file."""

    name: str
    title: str
    parameters: int
    size: int
    licence: str
    languages: str
    revision: str = "main"  # where there are safetensors
    sources: str


_COUNTED = "parameters counted from the shape in its config.json"

CURATED: tuple[Known, ...] = (
    Known(
        name="FacebookAI/xlm-roberta-base",
        title="XLM-R base",
        parameters=277_453_056,
        size=1_120_000_000,
        licence="MIT",
        languages="100",
        sources=f"{_COUNTED}; size from the file list, licence and languages from the model card "
        f"at huggingface.co/FacebookAI/xlm-roberta-base",
    ),
    Known(
        name="microsoft/infoxlm-base",
        title="InfoXLM base",
        parameters=277_453_056,
        size=942_000_000,
        licence="not stated on its model card",
        languages="94",
        revision="refs/pr/1",
        sources=f"{_COUNTED} (that of XLM-R base); size from the file list of refs/pr/1 at "
        "huggingface.co/microsoft/infoxlm-base, where the Hub's own converter put safetensors "
        "(main has a pickle only); languages from Chi et al. 2021 (arXiv 2007.07834), section 4.1",
    ),
    Known(
        name="microsoft/Multilingual-MiniLM-L12-H384",
        title="Multilingual MiniLM",
        parameters=117_505_920,
        size=471_000_000,
        licence="MIT",
        languages="16 on its card, tokenizer of XLM-R",
        revision="d71b3dab802f265324697876f4be37dd61ec3160",
        sources=f"{_COUNTED}; size from the file list of the revision, to which the Hub's own "
        "converter added safetensors (main has a pickle only), licence and languages from the "
        "model card at huggingface.co/microsoft/Multilingual-MiniLM-L12-H384",
    ),
    Known(
        name="google-bert/bert-base-multilingual-cased",
        title="mBERT, cased",
        parameters=177_262_848,
        size=714_000_000,
        licence="Apache-2.0",
        languages="104",
        sources=f"{_COUNTED}; size from the file list, licence and languages from the model card "
        f"at huggingface.co/google-bert/bert-base-multilingual-cased",
    ),
)
