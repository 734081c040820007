"""What all commands share: the command line, its errors and exit codes, the lists of names."""
