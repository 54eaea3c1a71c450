"""One dataset out of many: every photo in one label space, never against its own labels.

``target.py`` is the label space that is written, ``choices.py`` says what a pixel of each class may
become, ``photos.py`` lists the photos, ``labelling.py`` makes one of them, ``job.py`` all of them,
``summary.py``, ``report.py`` and ``check.py`` tell what came of it. The command line is
``tools/harmonize.py``.
"""
