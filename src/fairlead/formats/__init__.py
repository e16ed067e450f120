"""Documents of several formats: read as data, edited by key so that all else stays byte for byte."""
