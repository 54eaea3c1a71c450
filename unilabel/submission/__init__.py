"""Predictions for benchmark servers: archives, label mappings, void, local scores."""
