"""From a module to layers, coupled groups of units and exact costs."""
