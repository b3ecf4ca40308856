"""The policy pack: rules over a finished stack, one module per concern."""
