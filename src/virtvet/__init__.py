"""virtvet: profiles go in, checks judge every layer, reports come out."""

__version__ = "0.1.0"
