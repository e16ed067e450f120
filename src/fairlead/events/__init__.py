"""What happened: written down first, then told to whoever follows."""
