"""The flows that a plan must have, one family a module, each with its doors in order."""
