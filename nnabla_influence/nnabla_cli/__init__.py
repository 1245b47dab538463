"""nnabla_cli: train a definition with it, recorded, and tell the order that it draws."""
