"""The policy pack: rules over a finished stack. Each rule is written once and runs in three places.

``spillway preview``, ``up`` and ``check`` judge the plan before anything is created; ``pulumi preview --policy-pack
policies`` runs the same rules under the Pulumi CLI. ``catalogue.py`` lists them, ``rules/`` has one module a concern.
"""
