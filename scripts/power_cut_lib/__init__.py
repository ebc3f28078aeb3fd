"""What scripts/power-cut is made of."""
