"""One module a concern; each ends with the ``POLICIES`` that it defines."""
