"""Capacity and cost on a request trace."""
