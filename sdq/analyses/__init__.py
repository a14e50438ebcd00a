"""One module per question about a model: model and batches -> tables."""
