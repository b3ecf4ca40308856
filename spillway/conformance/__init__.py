"""What the clouds would say of a plan, computed offline from their own rules: no account, no credentials, no component.

One folder a question: ``services/`` whether each resource would be accepted, ``flows/`` whether each arrow of the
architecture can be walked, ``life_cycle/`` whether it can be changed and taken down, ``places/`` whether region,
partition, names, limits and quotas allow it.
"""
