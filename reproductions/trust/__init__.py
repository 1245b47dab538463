"""What the verdict on a ranking is calibrated on."""
