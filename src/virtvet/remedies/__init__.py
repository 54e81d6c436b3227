"""Mending: a remedy plans changes (`change`), `settle` applies them under a journal, `undo` takes them back."""
