"""Several finished runs beside each other: their numbers, settings, masks and answers."""
