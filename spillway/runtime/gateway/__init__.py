"""PRODUCTION: the agent that runs beside each gateway, and what it measures and reports."""
