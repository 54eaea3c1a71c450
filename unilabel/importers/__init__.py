"""Exports of annotation tools, read into a dataset folder of unilabel's own form.

``detect.py`` says which form a folder has, ``forms/`` has one reader for each, ``painter.py`` makes
label maps of outlines, ``classes.py`` is the table of names and colours, ``write.py`` writes. The
command line is ``tools/import_dataset.py``; ``cache.py`` serves ``DATASETS.CUSTOM``. Nothing here
needs PyTorch.
"""
