"""Who did what: collected without waiting, written in batches."""
