"""Where objects are kept equal to Git: a fleet, files of a host."""
