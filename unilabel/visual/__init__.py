"""Drawings of label spaces and predictions. Needs unilabel.core, matplotlib and Pillow only."""
