"""The demo: two real data sets through the whole pipeline."""
