"""How well exact and final scores of a small CNN agree with leaving rows out: LDS and tau."""
