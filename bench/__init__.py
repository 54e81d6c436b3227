"""The same facts, asserted by virtvet and by a plain testinfra suite, on the same host, in one run (`./dev bench`)."""
