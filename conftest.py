"""The plugin is named here once every module it needs has landed."""
