"""Who is it: keys, signed tokens and browser sessions, as this process knows them now."""
