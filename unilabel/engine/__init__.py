"""Training, label unification and evaluation of whole runs (Detectron2 layer)."""
