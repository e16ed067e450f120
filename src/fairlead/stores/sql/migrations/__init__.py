"""How the tables came to be, a revision a file. A revision that was released is never changed."""
