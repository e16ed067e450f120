"""Measures what Fairlead costs, beside nginx and other gateways: `make bench`, docs/performance.md."""
