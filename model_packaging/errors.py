"""Errors of the packager that are the user's to mend."""


class ModelConfigError(Exception):
    """``model.yaml`` cannot be used. Says which key, what was given, what is allowed and how to mend it."""
