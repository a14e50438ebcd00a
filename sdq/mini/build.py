"""`python -m sdq mini build --corpus DIR`: from text to the shipped model, stage by stage, each resumable."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import torch
from torch.nn import functional as F

from sdq.mini import corpus, pretrain, teacher, tokenizer


def pretrained(folder: Path, work: Path, plan: pretrain.Plan, until: int | None = None) -> pretrain.Encoder:
    """Corpus -> tokenizer -> sentence vectors -> trained encoder; everything intermediate stays in `work`."""
    started = time.perf_counter()
    pairs = corpus.parallel(folder)
    general = len(pairs)
    last = until or plan.steps
    pairs += corpus.own() if last > plan.own_from * plan.steps else []
    print(f"{general:,} pairs from {folder}, {len(pairs) - general:,} of our own")
    if not (work / "tokenizer" / "tokenizer.json").exists():
        tokenizer.train(pairs[:general], work / "tokenizer", plan.vocabulary)
    data = pretrain.Batches(pairs, tokenizer.load(work / "tokenizer"), plan)
    parts = (data.english[: data.general], data.english[data.general :])
    targets = F.normalize(torch.cat([torch.from_numpy(teacher.vectors(part, work)) for part in parts if part]), dim=-1)
    counts = {"pairs_by_language": Counter(p.language for p in pairs if p.source != "mini"), "pairs_by_source": Counter(p.source for p in pairs)}
    (work / "corpus.json").write_text(json.dumps(counts, indent=1))
    print(f"data ready after {time.perf_counter() - started:.0f} s")
    return pretrain.train(data, targets, plan, work / "pretrain", until)


if __name__ == "__main__":
    import sys

    pretrained(Path(sys.argv[1]), Path(sys.argv[2]), pretrain.Plan(), int(sys.argv[3]) if len(sys.argv) > 3 else None)
