"""LOCAL ONLY: the real model servers, gateways, DNS and functions of a twin, as processes on this machine."""
