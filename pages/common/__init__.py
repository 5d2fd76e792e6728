"""What the pages share: shell, state, cached calls of the core, components, formats."""
