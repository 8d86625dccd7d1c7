"""Causal language models: loading, tokens, log-probabilities, texts."""
