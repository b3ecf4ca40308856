"""A third burst site, for the tests alone: everything that a stack asks of one, and no edit outside this folder."""
