"""Scores of a model on datasets (Detectron2 layer)."""
