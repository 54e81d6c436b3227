"""The same facts, asserted by virtvet and by a plain testinfra suite, on the same host, in one run (`./dev bench`)."""

import virtvet.snapshot as _snapshot  # noqa: F401 - keeps libvirt's client from logging to stderr
