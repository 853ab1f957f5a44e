"""What the command line is made of; it needs the extra `dag-inference[cli]`."""
