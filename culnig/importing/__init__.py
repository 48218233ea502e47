"""Files of other programs that become runs."""
