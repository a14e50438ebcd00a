"""Words of the trade, explained where they stand."""

from __future__ import annotations

import re
from html import escape

import streamlit as st

TERMS = {
    "FP32": "32-bit floating point: the model as it was trained, before any quantization.",
    "PTQ": "Post-training quantization: the finished model's numbers are rounded to few bits; "
    "nothing is trained.",
    "QAT": "Quantization-aware training: the rounding is switched on while the model is trained "
    "further on labels, so it learns to live with it.",
    "QNAT": "Quantization-aware training with Quant-Noise: at each step only a random share of "
    "the weights is rounded.",
    "SDQ": "Self-distilled quantization: trained like QAT, but the model also has to imitate its "
    "own FP32 version, its teacher.",
    "SDQ multi": "Our extension of SDQ: the teacher is also imitated on unlabelled text of the "
    "other languages. The paper's setting trains on English only.",
    "zero-shot": "A language the model saw no labels for: it was trained on the English sentences "
    "of the task and is tested in this one.",
    "INT8": "Weights and activations are rounded to 8-bit integers, 255 levels.",
    "W2A8": "Weights are rounded to 2 bits (3 levels), those of the embedding and all activations "
    "to 8 bits.",
    "W3A8": "Weights are rounded to 3 bits (7 levels), those of the embedding and all activations "
    "to 8 bits.",
    "W4A8": "Weights are rounded to 4 bits (15 levels), activations to 8 bits.",
    "fake quantization": "Numbers are rounded to the values that integers could hold, but "
    "computed in floating point: the accuracy is the real one, the speed is not.",
    "simulated": "Worked out, not measured: the size is what the integer codes and their scales "
    "would take; a simulated model is not smaller or faster.",
    "95 % interval": "The range the score would fall into 95 times out of 100, had other test "
    "sentences of the same kind been drawn (bootstrap over clusters of sentences; of a "
    "difference, both sides are drawn together).",
    "SQNR": "Signal to quantization noise ratio: the power of the values over the power of their "
    "rounding errors, in decibels; 6 dB more halve the error.",
    "relative L2": "Length of the error divided by the length of the exact output: 0 is exact, 1 "
    "is as large as the signal.",
    "Frobenius norm": "Square root of the sum of all squared differences, here the root mean "
    "square over sentences.",
    "local error": "The error of one layer that alone rounds, on exact inputs.",
    "accumulated": "The error at a place in the network when everything up to it rounds.",
    "self-attention": "The part of a block in which each token mixes in what it finds in the "
    "others.",
    "teacher gap": "The difference between a trained, quantized student and its FP32 teacher, "
    "whose weights are others.",
    "CE": "Cross-entropy, the loss on the labels; lower is better.",
    "KLD": "Distance between the student's and the teacher's predictions (Kullback-Leibler "
    "divergence); 0 when they agree.",
    "dev sentences": "Sentences kept apart to choose the best step of a training; never those "
    "that are scored.",
    "preset": "A recipe that comes with the project.",
    "observer": "The rule that turns seen values into the range that is quantized.",
    "granularity": "How many numbers share one range: a whole tensor, a channel, a group, a token.",
    "distillation": "Learning to give what a teacher model gives.",
    "calibration": "Measuring value ranges on training sentences before quantizing.",
    "seed": "The number that fixes every random choice of a run; the same seed gives the same run.",
    "recipe": "The settings of a run: what is rounded and how, what is trained, and the seed.",
    "noise floor": "How much a measured number moves when the same is measured again with a "
    "change of a ten-millionth at the input, or in other batches. What is not above it says "
    "nothing.",
    "KL divergence": "How far the probabilities of the quantized model are from those in FP32, in "
    "nats: 0 when they agree.",
    "nats": "The unit of a divergence or loss with natural logarithms; 0.69 nats are one bit.",
    "McNemar test": "Asks whether losing and gaining right answers are equally likely, given how "
    "many sentences did each.",
    "randomisation test": "Asks how often so large a difference comes about when it is drawn at "
    "random which model gave which answer.",
    "clusters": "Sentences that are drawn together, because they are no independent ones: a "
    "sentence in all its languages, and sentences made from one frame.",
    "Holm's correction": "Raises the p-values of several tests so that, were there nothing to "
    "find, a small one would still be rare among all of them together.",
    "power": "How often a test finds a difference that is really there; usually 80 % is asked for.",
    "interaction": "That the effect of one thing depends on another: quantization costs some "
    "languages more than others.",
    "flip": "An answer that turns from right to wrong, or the other way round.",
    "margin": "How far the model's first answer leads its second, in logits.",
    "attribution": "How much each word of a sentence speaks for an answer (+) or against it (−), "
    "in logits.",
    "integrated gradients": "An attribution: the slope of the answer's logit, added up over the "
    "way from a sentence without content to this one.",
    "convergence delta": "The sum of all attributions minus what the sentence really adds to the "
    "logit; 0 if they explain it completely.",
    "completeness": "That the attributions add up to what they explain; the completeness error is "
    "the share by which they do not.",
    "drift": "How far the quantized model has moved away from FP32 in what it looks at.",
    "conductance": "How much of the damage of the whole model flows through one part of it, while "
    "all parts go from FP32 to quantized together.",
    "logits": "The model's raw scores, before they become probabilities.",
    "Spearman's rank correlation": "How alike two orders are, from -1 (opposite) over 0 (no "
    "relation) to +1 (the same).",
    "subword": "A piece of a word that the tokenizer knows.",
    "fertility": "Subwords per word, on average.",
    "MSE": "Mean of the squared rounding errors; lower is better.",
    "clipped": "A value outside the range that the codes cover is set to the end of the range.",
    "codes": "The integers a rounded number can be stored as: 3 bits give 7, 8 bits 255.",
    "mixed precision": "Each module gets its own number of bits: few where that costs little, "
    "many where it breaks the answers.",
    "predicted cost": "The KL divergence of FP32's answers from those with one module alone "
    "quantized, added up over the modules; measured on unlabelled training sentences, in nats.",
    "migration": "SmoothQuant: outlier channels of activations are divided, and the weights that "
    "read them multiplied by the same numbers, so that the activations are easier to round.",
    "scale": "The step between two neighbouring representable values.",
    "grid": "All values that codes and scale can represent.",
    "output channel": "One row of a weight matrix; it computes one output number.",
    "rms": "Root of the mean square: the typical size of numbers that may be positive or negative.",
    "LayerNorm": "A step that brings a token's numbers to mean 0 and the same spread, then "
    "multiplies each hidden unit by its gain; errors in the spread vanish.",
    "kurtosis": "How heavy the tails of a distribution are: 3 for a normal one, far more where a "
    "few values are much larger than the rest.",
    "hidden unit": "One of the numbers that describe a token inside the model.",
    "outlier dimension": "A hidden unit whose values are far larger than those of the others; it "
    "stretches the range that all must share.",
    "nDCG": "Normalized discounted cumulative gain: how near the order of a query's documents "
    "comes to the best one; what stands high counts more. 100 % is the best order.",
    "token accuracy": "Share of the words that get the right tag.",
    "F1": "Balance of precision and recall over the found phrases: 100 % when exactly the right "
    "ones are found.",
}
_PATTERN = re.compile(
    r"(?<![\w-])("
    + "|".join(sorted((re.escape(t) for t in TERMS), key=len, reverse=True))
    + r")(?![\w-])"
)
_WEIGHTY = re.compile(r"(\d[\d.]* points|wins back (?:all|nothing|\d+ %))")


def explained(text: str, once: bool = True) -> str:
    """Plain text -> HTML in which each term (at its first use) carries its explanation as a
    tooltip."""
    seen: set[str] = set()

    def mark(match: re.Match[str]) -> str:
        word = match[1]
        if once and word in seen:
            return word
        seen.add(word)
        return f'<abbr title="{escape(TERMS[word])}">{word}</abbr>'

    return _PATTERN.sub(mark, escape(text, quote=False))


def say(text: str, style: str = "") -> None:
    """Write plain text with its terms explained; style "reading" is the sentence above a
    picture."""
    html = explained(text)
    if style == "reading":
        html = _WEIGHTY.sub(r"<b>\1</b>", html)
    st.markdown(f'<p class="{style}">{html.replace(" %", "&nbsp;%")}</p>', unsafe_allow_html=True)


def words(*names: str) -> None:
    """The same explanations behind a button, for touch screens and keyboards."""
    with st.popover("Words", icon=":material/menu_book:"):
        for name in names:
            st.markdown(f"**{name}**  \n{TERMS[name]}")
