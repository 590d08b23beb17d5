"""Every model under evaluation behind one interface, and the plain live ones that learn from every event."""
