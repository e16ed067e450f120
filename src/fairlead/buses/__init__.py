"""How processes of one service tell each other what is new."""
