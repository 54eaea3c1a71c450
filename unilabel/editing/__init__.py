"""Edits of a trained model without training: datasets and unified labels go, part and join."""
