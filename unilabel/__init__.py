"""Multi-dataset semantic segmentation with learned label unification, on Detectron2."""

__version__ = "0.1.0"
