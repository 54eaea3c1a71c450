"""Label text: tables of published datasets, prompts, text encoders and text-only label spaces."""
