"""One small reader for each form of export; ``unilabel/importers/detect.py`` lists them."""
