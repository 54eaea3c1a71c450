"""Plain PyTorch and NumPy core: label spaces, graph, mapping, losses, metrics.

Nothing here imports Detectron2, transformers or gradio (see ``tests/test_layering.py``).
"""
