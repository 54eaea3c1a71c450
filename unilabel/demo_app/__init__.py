"""The demo: prediction, label graph and review in a browser; started by demo/app.py."""
