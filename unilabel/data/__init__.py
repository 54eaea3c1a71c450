"""Datasets, augmentation and loaders (Detectron2 layer)."""
