"""Adding a dataset to a finished model: relations, classifiers and one new file."""
