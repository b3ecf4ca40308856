"""Where overflow goes: one folder a site, and :data:`SITES`, the list of them."""
