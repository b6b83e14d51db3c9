"""What this computer is, what is installed on it, and how it feels."""
