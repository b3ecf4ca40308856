"""What each service's own model says of the members that a resource sends, as files that conformance reads.

A generator may import what conformance may not: the twin, which knows the call that each resource type makes, and the
SDKs and schemas themselves. Its file holds plain values only, so that a check loads no SDK.
"""
