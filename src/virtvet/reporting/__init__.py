"""What a run found, as run.json, and everything that is made from it."""
