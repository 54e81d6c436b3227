"""A checkout is used without installing it: the plugin is named here; an installed wheel has it as an entry point."""

pytest_plugins = ["virtvet.plugin"]
