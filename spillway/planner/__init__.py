"""Capacity and cost on a request trace: how much private, how much burst, and what it costs.

``trace`` reads and makes traces, ``service`` says how long a request works, ``system`` describes sites and rules,
``simulate`` runs a trace against them, ``costs`` prices it, ``search`` finds the cheapest system that holds.
"""
