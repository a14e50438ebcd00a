"""Terms of the field, explained where they are used."""

from __future__ import annotations

import re
from html import escape

import streamlit as st

TERMS = {
    "FP32": "32-bit floating point: the model as it was trained, before any quantization.",
    "FP32 longer": "The FP32 model trained further without rounding, by the preset as many steps "
    "as QAT and SDQ: what they win beyond it comes from the method, not from more training.",
    "PTQ": "Post-training quantization: a trained model is rounded to few bits, without further "
    "training.",
    "QAT": "Quantization-aware training: the model is trained further on labels with rounding "
    "switched on, so that it adapts to it.",
    "QNAT": "Quantization-aware training with Quant-Noise: at each step only a random share of "
    "the weights is rounded.",
    "SDQ": "Self-distilled quantization: trained like QAT, but the model also imitates its own "
    "FP32 version, the teacher.",
    "SDQ multi": "Our extension of SDQ: the student also imitates the teacher on unlabelled text "
    "in the other languages. The paper's setting trains on English only.",
    "zero-shot": "A language without labels in training: the model was trained on labels in "
    "another language and is tested in this one.",
    "INT8": "Weights and activations are rounded to 8-bit integers, 255 levels.",
    "W2A8": "Weights are rounded to 2 bits (3 levels); the embedding's weights and all activations "
    "to 8 bits.",
    "W3A8": "Weights are rounded to 3 bits (7 levels); the embedding's weights and all activations "
    "to 8 bits.",
    "W4A8": "Weights are rounded to 4 bits (15 levels), activations to 8 bits.",
    "fake quantization": "Values are rounded to what integers can represent but computed in "
    "floating point: the accuracy is that of an integer model, the speed is not.",
    "simulated": "Calculated, not measured: the size that the integer codes and their scales would "
    "take. A simulated model is neither smaller nor faster.",
    "95 % interval": "The range the score would fall into 95 times out of 100 if other test "
    "sentences of the same kind had been drawn (bootstrap over clusters of sentences; for a "
    "difference, both sides are drawn together).",
    "SQNR": "Signal-to-quantization-noise ratio: the power of the values over the power of their "
    "rounding errors, in decibels; every 6 dB more halves the error.",
    "relative L2": "Length of the error divided by the length of the exact output: 0 is exact, 1 "
    "is as large as the signal.",
    "Frobenius norm": "Square root of the sum of all squared differences, here the root mean "
    "square over sentences.",
    "local error": "The error of a layer that is quantized alone, on exact inputs.",
    "accumulated": "The error at a point in the network when everything up to it is quantized.",
    "self-attention": "The part of a block in which each token gathers information from the "
    "others.",
    "teacher gap": "The difference between a trained, quantized student and its FP32 teacher, "
    "whose weights differ.",
    "CE": "Cross-entropy, the loss on the labels; lower is better.",
    "KLD": "Distance between the student's and the teacher's predictions (Kullback-Leibler "
    "divergence); 0 when they agree.",
    "dev sentences": "Held-out sentences that choose the best training step; never those that are "
    "scored.",
    "preset": "A recipe that comes with the project.",
    "outlier column": "A column of a weight, or the input channel that it multiplies, whose "
    "numbers are so large that they stretch the range of all others. Split into two equal "
    "halves it stretches it half as much; kept in 16 bits, not at all.",
    "observer": "The rule that turns observed values into a quantization range.",
    "granularity": "Which values share one range: a whole tensor, a channel, a group or a token.",
    "distillation": "Training a student to reproduce the outputs of a teacher model.",
    "calibration": "Measuring value ranges on training sentences before quantizing.",
    "seed": "The number that fixes every random choice of a run; the same seed gives the same run.",
    "recipe": "The settings of a run: what is quantized and how, what is trained, and the seed.",
    "noise floor": "How much a measured number moves when the measurement is repeated with the "
    "input changed by one ten-millionth, or in different batches. A value that is not above it "
    "says nothing.",
    "KL divergence": "How far the probabilities of the quantized model are from those of FP32, in "
    "nats: 0 when they agree.",
    "nats": "The unit of a divergence or loss with natural logarithms; 0.69 nats is one bit.",
    "McNemar test": "Tests whether losing and gaining right answers are equally likely, given how "
    "many sentences did each.",
    "randomisation test": "Tests how often so large a difference arises when it is decided at "
    "random which model gave which answer.",
    "clusters": "Sentences that are drawn together because they are not independent: a sentence in "
    "all its languages, and sentences made from one frame.",
    "Holm's correction": "Raises the p-values of several tests so that, if there were no effect at "
    "all, a small one would still be rare among all of them together.",
    "power": "How often a test finds a difference that really exists; 80 % is the usual target.",
    "interaction": "When the effect of one factor depends on another: quantization costs some "
    "languages more than others.",
    "flip": "An answer that changes from right to wrong, or from wrong to right.",
    "margin": "How far the model's first answer leads its second, in logits.",
    "attribution": "How much each word of a sentence supports an answer (+) or opposes it (−), in "
    "logits.",
    "integrated gradients": "An attribution: the slope of the answer's logit, added up along the "
    "path from a sentence without content to this one.",
    "convergence delta": "The sum of all attributions minus what the sentence actually adds to the "
    "logit; 0 if they explain it completely.",
    "completeness": "Whether the attributions add up to what they explain; the completeness error "
    "is the share by which they do not.",
    "drift": "How far the words that the quantized model looks at differ from those of FP32.",
    "conductance": "How much of the whole model's damage flows through one part of it, while all "
    "parts move from FP32 to quantized together.",
    "logits": "The model's raw scores, before they become probabilities.",
    "Spearman's rank correlation": "How similar two rankings are, from -1 (reversed) through 0 (no "
    "relation) to +1 (identical).",
    "subword": "A piece of a word that the tokenizer knows.",
    "fertility": "Subwords per word, on average.",
    "MSE": "Mean of the squared rounding errors; lower is better.",
    "clipped": "A value outside the range of the codes is set to the end of the range.",
    "codes": "The integers that a rounded value can be stored as: 3 bits give 7, 8 bits 255.",
    "mixed precision": "Each module gets its own bit width: few bits where that costs little, many "
    "where it would break the answers.",
    "predicted cost": "The KL divergence of FP32's answers from those with one module alone "
    "quantized, summed over the modules; measured on unlabelled training sentences, in nats.",
    "migration": "SmoothQuant: outlier channels of the activations are divided by a factor, and "
    "the weights that read them are multiplied by it, so that the activations are easier to round.",
    "scale": "The step between two neighbouring representable values.",
    "grid": "All values that codes and scale can represent.",
    "output channel": "One row of a weight matrix; it computes one output value.",
    "rms": "Root mean square: the typical size of values that may be positive or negative.",
    "LayerNorm": "A step that brings a token's values to mean 0 and the same spread, then "
    "multiplies each hidden unit by its gain; errors in the spread vanish.",
    "kurtosis": "How heavy the tails of a distribution are: 3 for a normal one, far more where a "
    "few values are much larger than the rest.",
    "hidden unit": "One of the values that represent a token inside the model.",
    "outlier dimension": "A hidden unit whose values are far larger than those of the others; it "
    "stretches the range that all of them share.",
    "nDCG": "Normalized discounted cumulative gain: how close the ranking of a query's documents "
    "is to the best one; top ranks count more. 100 % is the best ranking.",
    "token accuracy": "Share of the words that get the right tag.",
    "F1": "Balance of precision and recall over the predicted phrases: 100 % when exactly the "
    "right ones are found.",
}
_PATTERN = re.compile(
    r"(?<![\w-])("
    + "|".join(sorted((re.escape(t) for t in TERMS), key=len, reverse=True))
    + r")(?![\w-])"
)
_KEY_NUMBERS = re.compile(r"(\d[\d.]* points|recovers (?:all|nothing|\d+ %))")


def explained(text: str, once: bool = True) -> str:
    """Plain text -> HTML in which each term (at its first use) has its explanation as a tooltip."""
    seen: set[str] = set()

    def mark(match: re.Match[str]) -> str:
        word = match[1]
        if once and word in seen:
            return word
        seen.add(word)
        return f'<abbr title="{escape(TERMS[word])}">{word}</abbr>'

    return _PATTERN.sub(mark, escape(text, quote=False))


def say(text: str, style: str = "") -> None:
    """Write plain text with its terms explained; style "reading" is the sentence above a figure."""
    html = explained(text)
    if style == "reading":
        html = _KEY_NUMBERS.sub(r"<b>\1</b>", html)
    st.markdown(f'<p class="{style}">{html.replace(" %", "&nbsp;%")}</p>', unsafe_allow_html=True)


def glossary_button(*names: str) -> None:
    """The same explanations behind a button, for touch screens and keyboards."""
    with st.popover("Glossary", icon=":material/menu_book:"):
        for name in names:
            st.markdown(f"**{name}**  \n{TERMS[name]}")
