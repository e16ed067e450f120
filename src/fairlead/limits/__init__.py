"""How much a caller may ask for, in one process or shared between several."""
