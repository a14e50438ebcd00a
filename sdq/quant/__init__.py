"""Uniform quantization: integer arithmetic, specs, observers, fake-quantized layers, rewriting of
models."""
