"""How much each unit matters."""
