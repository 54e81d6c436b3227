"""The two ways a lab can say no."""


class LabError(Exception):
    """Something went wrong that the reader can act on; shown as one message, without a traceback."""


class PreflightError(LabError):
    """This machine cannot carry a lab, and why."""
