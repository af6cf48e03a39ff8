"""Studies: explorers side by side on one task."""
