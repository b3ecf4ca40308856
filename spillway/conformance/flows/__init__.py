"""Whether each arrow of the architecture can be walked: names, routes, firewalls, policies, identities.

``families/`` declares the arrows that a plan must have, found by resource types and properties; ``doors/`` says for one
kind of door at a time what it lets through; ``walk`` asks every door of every arrow.
"""
