"""Random draws on MXNet's CPU streams, bit for bit for the same seed."""
