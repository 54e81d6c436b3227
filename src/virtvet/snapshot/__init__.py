"""One look at a machine: what to ask (`sources`), what was answered (`model`), how it travels (`transport`, `look`)."""
