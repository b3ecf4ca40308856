"""The cheapest way to serve a model under a latency bound, found by measuring it on this machine."""
