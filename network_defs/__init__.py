"""Network definitions, and what writes them and their data."""
