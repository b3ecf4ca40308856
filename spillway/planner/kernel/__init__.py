"""The simulation, compiled by numba. ``spillway.planner.simulate`` fills :class:`state.State` and reads it.

It follows docs/explanation/overflow.md: a request asks each site's gate in spill order, P0 comes round again for the
headroom, and what no gate lets through is refused. A server has a queue of its own, in order of urgency. From below:
``heap`` (who acts next), ``instances`` (what is live, and paid for), ``server``, ``gates``, ``fleet`` (autoscalers,
outages), ``loop``.
"""
