"""The command line: one file per command. Only here exceptions become exit codes."""
