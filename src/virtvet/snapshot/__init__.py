"""One look at a machine: what to ask (`sources`), what was answered (`model`), how it travels (`transport`, `look`)."""

import os

# libvirt's client also logs to stderr what it raises; read when it is loaded (virLogSetFromEnv in src/util/virlog.c)
os.environ.setdefault("LIBVIRT_LOG_OUTPUTS", "4:file:/dev/null")
